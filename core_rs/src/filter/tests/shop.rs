use crate::bitmap::Bitmap;
use crate::catalogue::{Catalogue, ItemChange, Label};
use crate::filter::{Filter, FilterError, Params};
use crate::ids::{ItemIx, TagIx};
use crate::names::Names;

/// A catalogue and its names.
pub struct Shop {
    pub names: Names,
    pub catalogue: Catalogue,
}

impl Shop {
    pub fn empty() -> Self {
        Self {
            names: Names::new(1),
            catalogue: Catalogue::new(&["brand".to_string()], true),
        }
    }

    /// Five items: two full ones, a bare one, one with other types, one that only events named.
    pub fn small() -> Self {
        let mut shop = Self::empty();
        let text = |text: &str| Label::Text(text.into());
        let tags = |tags: &[&str]| Label::Tags(tags.iter().map(|tag| Box::from(*tag)).collect());
        shop.put(
            "boot",
            &["shoes", "winter"],
            &[
                ("price", Label::Float(49.5)),
                ("brand", text("acme")),
                ("on_sale", Label::Bool(true)),
                ("colours", tags(&["red", "black"])),
                ("on sale since", text("2026-01-31")),
            ],
        );
        shop.put(
            "sandal",
            &["shoes", "summer"],
            &[
                ("price", Label::Int(20)),
                ("brand", text("nadir")),
                ("on_sale", Label::Bool(false)),
                ("colours", tags(&[])),
            ],
        );
        shop.put("bare", &[], &[]);
        shop.put(
            "odd",
            &["misc"],
            &[("price", text("on request")), ("brand", Label::Int(7))],
        );
        shop.name("named");
        shop
    }

    pub fn put(&mut self, id: &str, categories: &[&str], labels: &[(&str, Label)]) -> ItemIx {
        let categories = categories
            .iter()
            .map(|c| TagIx(self.names.tags.intern_str(c)));
        let change = ItemChange {
            categories: Some(categories.collect()),
            labels: Some(
                labels
                    .iter()
                    .map(|(k, v)| (Box::from(*k), Some(v.clone())))
                    .collect(),
            ),
            ..ItemChange::default()
        };
        self.change(id, change)
    }

    pub fn change(&mut self, id: &str, change: ItemChange) -> ItemIx {
        let ix = self.name(id);
        self.catalogue.change(ix, change, true, &mut self.names);
        ix
    }

    /// Numbers an item, as an event on it does.
    pub fn name(&mut self, id: &str) -> ItemIx {
        let ix = ItemIx(self.names.items.intern_str(id));
        self.catalogue.ensure(self.names.items.len());
        ix
    }

    /// Ids of the items that pass, by bitmap; that single items say the same is checked on the way.
    pub fn find(&self, text: &str, params: &Params) -> Result<Vec<&str>, FilterError> {
        let checked = Filter::parse(text)?.check(&self.catalogue, params)?;
        let mut bits = Bitmap::default();
        checked.evaluate(&self.catalogue, &self.names, &mut bits);
        assert_eq!(bits.len(), self.catalogue.len());
        for i in 0..self.catalogue.len() {
            let alone = checked.matches(&self.catalogue, &self.names, ItemIx(i as u32));
            assert_eq!(
                alone,
                bits.get(i),
                "{text} on {}",
                self.names.item(ItemIx(i as u32))
            );
        }
        Ok(bits
            .iter_ones()
            .map(|i| self.names.item(ItemIx(i as u32)))
            .collect())
    }
}
