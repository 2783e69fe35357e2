//! The catalogue, page by page: what was put and not deleted, for whoever compares it with another list.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::fold::state::State;
use crate::ids::{ItemIx, Millis};
use crate::query::item_view::LabelAnswer;

/// Metadata of one item. Written as an array, in this order.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[allow(missing_docs)]
pub struct CatalogueRow {
    pub item: String,
    pub is_hidden: bool,
    pub categories: Vec<String>,
    pub labels: BTreeMap<String, LabelAnswer>,
    pub timestamp: Option<Millis>,
    pub group_id: Option<String>,
    pub comment: Option<String>,
}

/// At most `limit` rows of the items numbered from `start`, and where the next page starts; `None` after the last. Numbers
/// are this process's: they only grow, so pages that are read while the fold goes on miss nothing that was there at the
/// first.
pub fn catalogue_page(
    state: &State,
    start: usize,
    limit: usize,
) -> (Vec<CatalogueRow>, Option<usize>) {
    let mut rows = Vec::new();
    for ix in start..state.catalogue.len() {
        if rows.len() == limit {
            return (rows, Some(ix));
        }
        let item = ItemIx(ix as u32);
        let Some(meta) = state.catalogue.meta(item) else {
            continue;
        };
        let tags = meta.categories.iter();
        let labels = meta.labels.iter();
        rows.push(CatalogueRow {
            item: state.names.item(item).to_string(),
            is_hidden: meta.hidden,
            categories: tags.map(|tag| state.names.tag(*tag).to_string()).collect(),
            labels: labels
                .map(|(name, label)| (name.to_string(), label.into()))
                .collect(),
            timestamp: meta.timestamp,
            group_id: meta.group.as_ref().map(|group| group.to_string()),
            comment: meta.comment.as_ref().map(|comment| comment.to_string()),
        });
    }
    (rows, None)
}
