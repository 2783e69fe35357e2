//! Frames of the catalogue: items are put, patched and deleted, and everyone who follows them is told.

use crate::catalogue::ItemChange;
use crate::embedding::Embedding;
use crate::fold::partition::owned_label;
use crate::fold::report::{Report, outcome};
use crate::fold::state::State;
use crate::frame::event::{Decoded, Event};
use crate::frame::item::ItemFields;
use crate::ids::{EventRef, ItemIx, Millis, Position, TagIx};
use crate::items::shard::TagChange;
use crate::names::Names;

impl State {
    /// Folds one frame of the catalogue.
    pub(super) fn fold_catalogue(
        &mut self,
        position: Position,
        events: &[Decoded<'_>],
        report: &mut Report,
    ) {
        for (index, event) in events.iter().enumerate() {
            let at = EventRef::new(position, index as u16);
            let outcome = match event {
                Ok(Event::ItemPut { item, ts, fields }) => {
                    self.change_item(item, *ts, fields, true)
                }
                Ok(Event::ItemPatch { item, ts, fields }) => {
                    self.change_item(item, *ts, fields, false)
                }
                Ok(Event::ItemDelete { item, .. }) => {
                    self.delete_item(item);
                    Ok(())
                }
                Ok(_) => Err(outcome::WRONG_SUBJECT),
                Err(error) => Err(error.code()),
            };
            match outcome {
                Ok(()) => report.counts.add(outcome::APPLIED, 1),
                Err(code) => report.refuse(at, code),
            }
        }
    }

    /// Applies a put (`replace`) or a patch, or says why not.
    fn change_item(
        &mut self,
        item: &str,
        ts: Millis,
        fields: &ItemFields<'_>,
        replace: bool,
    ) -> Result<(), &'static str> {
        let given = fields.embeddings.iter().flatten();
        self.vectors
            .check(given.map(|(name, raw)| (*name, raw.len() / 4)))?;
        let ix = ItemIx(self.names.items.intern_str(item));
        self.settle_items();
        if !replace && self.catalogue.is_deleted(ix) {
            return Ok(()); // Only a put brings it back.
        }
        let tag = |names: &mut Names, name: &str| TagIx(names.tags.intern_str(name));
        let label = |(key, value): &(&str, _)| (Box::from(*key), owned_label(value));
        let change = ItemChange {
            ts,
            categories: fields
                .categories
                .as_ref()
                .map(|list| list.iter().map(|c| tag(&mut self.names, c)).collect()),
            labels: fields
                .labels
                .as_ref()
                .map(|labels| labels.iter().map(label).collect()),
            hidden: fields.is_hidden,
            timestamp: fields.timestamp,
            group: fields.group_id.map(Box::from),
            comment: fields.comment.map(Box::from),
            embeddings: fields.embeddings.as_ref().map(|all| {
                all.iter()
                    .map(|(name, raw)| (Box::from(*name), Embedding::quantize(raw)))
                    .collect()
            }),
        };
        let before = (self.catalogue.tags(ix).to_vec(), self.catalogue.born(ix));
        self.catalogue.change(ix, change, replace, &mut self.names);
        self.settle_change(ix, &before.0, before.1);
        Ok(())
    }

    fn delete_item(&mut self, item: &str) {
        let ix = ItemIx(self.names.items.intern_str(item));
        self.settle_items();
        let before = (self.catalogue.tags(ix).to_vec(), self.catalogue.born(ix));
        self.catalogue.delete(ix);
        self.settle_change(ix, &before.0, before.1);
    }

    /// Tells everyone who follows the catalogue of an item's change: its tags and birth before it are given.
    fn settle_change(&mut self, ix: ItemIx, tags: &[TagIx], born: Option<Millis>) {
        let hash = self.names.item_hash(ix);
        let after = self.catalogue.born(ix);
        self.fresh.change(ix, hash, born, after, self.control.clock);
        let embeddings = self.catalogue.meta(ix).map_or(&[][..], |m| &m.embeddings);
        self.vectors.update(ix, embeddings);
        let (shard, local) = self.owner(ix);
        if !self.ownership.keeps_shard(shard) {
            return;
        }
        let change = TagChange {
            old: tags,
            new: self.catalogue.tags(ix),
            visible: self.catalogue.visible(ix),
            clock: self.control.clock,
        };
        self.shards[shard].retag(local, &change, &self.clocks, &self.names);
    }
}
