use std::collections::BTreeMap;

use proptest::prelude::*;

use super::shop::Shop;
use crate::catalogue::{ItemChange, Label};
use crate::filter::Value;
use crate::ids::TagIx;

/// Labels and the kinds of value that they have: booleans, numbers, texts, lists.
pub const LABELS: [(&str, [bool; 4]); 6] = [
    ("price", [false, true, false, false]),
    ("brand", [false, false, true, false]),
    ("on_sale", [true, false, false, false]),
    ("colours", [false, false, false, true]),
    ("mixed", [true, true, true, true]),
    ("odd `name`", [false, true, true, false]),
];
pub const WORDS: [&str; 5] = ["a", "b", "it's", "ä\n\\", ""];
pub const ITEMS: usize = 140;

/// One change of one item.
#[derive(Clone, Debug)]
pub enum Step {
    Named(usize),
    Deleted(usize),
    /// The flag says put instead of patch.
    Changed(usize, bool, Change),
}

#[derive(Clone, Debug)]
pub struct Change {
    pub categories: Option<Vec<&'static str>>,
    pub labels: Vec<(&'static str, Option<Label>)>,
    pub hidden: Option<bool>,
    pub timestamp: Option<i64>,
    pub group: Option<&'static str>,
}

/// What the slow evaluator knows of an item that was put.
#[derive(Clone, Debug, Default)]
pub struct Item {
    pub categories: Vec<&'static str>,
    pub labels: BTreeMap<&'static str, Label>,
    pub hidden: bool,
    pub timestamp: Option<i64>,
    pub group: Option<&'static str>,
}

pub fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(WORDS.to_vec())
}

/// Numbers that are multiples of a quarter: what the slow evaluator can tell apart exactly.
pub fn number() -> impl Strategy<Value = Value> {
    let big = 1i64 << 53;
    let int = prop_oneof![3 => -3i64..4, 1 => big - 2..big + 3, 1 => -big - 2..-big + 3, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    let float = prop_oneof![
        4 => (-12i32..13).prop_map(|quarters| f64::from(quarters) / 4.0),
        1 => (big - 2..big + 3).prop_map(|int| int as f64),
        1 => Just(-0.0),
        1 => Just(2f64.powi(63)),
    ];
    prop_oneof![int.prop_map(Value::Int), float.prop_map(Value::Float)]
}

pub fn label(kinds: [bool; 4]) -> BoxedStrategy<Label> {
    let mut all: Vec<BoxedStrategy<Label>> = Vec::new();
    if kinds[0] {
        all.push(any::<bool>().prop_map(Label::Bool).boxed());
    }
    if kinds[1] {
        let as_label = |value| match value {
            Value::Int(int) => Label::Int(int),
            Value::Float(float) => Label::Float(float),
            _ => unreachable!(),
        };
        all.push(number().prop_map(as_label).boxed());
    }
    if kinds[2] {
        all.push(word().prop_map(|text| Label::Text(text.into())).boxed());
    }
    if kinds[3] {
        let boxed = |words: Vec<&str>| Label::Tags(words.into_iter().map(Box::from).collect());
        all.push(prop::collection::vec(word(), 0..4).prop_map(boxed).boxed());
    }
    prop::strategy::Union::new(all).boxed()
}

pub fn change() -> impl Strategy<Value = Change> {
    let labels = (0..LABELS.len()).prop_flat_map(|which| {
        let (name, kinds) = LABELS[which];
        prop::option::weighted(0.8, label(kinds)).prop_map(move |value| (name, value))
    });
    (
        prop::option::of(prop::collection::vec(word(), 0..4)),
        prop::collection::vec(labels, 0..6),
        prop::option::of(any::<bool>()),
        prop::option::of(0i64..4),
        prop::option::of(word()),
    )
        .prop_map(|(categories, labels, hidden, timestamp, group)| Change {
            categories,
            labels,
            hidden,
            timestamp,
            group,
        })
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..ITEMS).prop_map(Step::Named),
        1 => (0..ITEMS).prop_map(Step::Deleted),
        8 => (0..ITEMS, any::<bool>(), change()).prop_map(|(i, put, change)| Step::Changed(i, put, change)),
    ]
}

pub fn id(i: usize) -> String {
    format!("item {i}")
}

/// Puts an item that has every label in every kind, one after the other, so that all of them are known.
pub fn teach(shop: &mut Shop) {
    for (name, kinds) in LABELS {
        let samples = [
            Label::Bool(true),
            Label::Int(1),
            Label::Text("a".into()),
            Label::Tags(["a".into()].into()),
        ];
        for sample in samples
            .into_iter()
            .zip(kinds)
            .filter_map(|(sample, has)| has.then_some(sample))
        {
            shop.put(&id(0), &[], &[(name, sample)]);
        }
    }
    shop.put(&id(0), &[], &[]);
}

pub fn apply(step: &Step, shop: &mut Shop, model: &mut BTreeMap<usize, Option<Item>>) {
    match step {
        Step::Named(i) => {
            shop.name(&id(*i));
            model.entry(*i).or_insert(None);
        }
        Step::Deleted(i) => {
            let ix = shop.name(&id(*i));
            shop.catalogue.delete(ix);
            model.insert(*i, None);
        }
        Step::Changed(i, put, change) => {
            let ix = shop.name(&id(*i));
            let categories = change.categories.as_ref().map(|all| {
                all.iter()
                    .map(|c| TagIx(shop.names.tags.intern_str(c)))
                    .collect()
            });
            let whole = ItemChange {
                categories,
                labels: Some(
                    change
                        .labels
                        .iter()
                        .map(|(k, v)| (Box::from(*k), v.clone()))
                        .collect(),
                ),
                hidden: change.hidden,
                timestamp: change.timestamp,
                group: change.group.map(Box::from),
                ..ItemChange::default()
            };
            shop.catalogue.change(ix, whole, *put, &mut shop.names);
            let item = model.entry(*i).or_insert(None).get_or_insert_default();
            if *put {
                *item = Item::default();
            }
            for (name, value) in &change.labels {
                match value {
                    Some(value) => item.labels.insert(name, value.clone()),
                    None => item.labels.remove(name),
                };
            }
            item.categories = change.categories.clone().unwrap_or(item.categories.clone());
            item.hidden = change.hidden.unwrap_or(item.hidden);
            item.timestamp = change.timestamp.or(item.timestamp);
            item.group = change.group.or(item.group);
        }
    }
}

/// An item's value in a field, as a filter would write it; `None` if there is none.
pub fn value_of(name: &str, i: usize, item: Option<&Item>) -> Option<Value> {
    let list = |words: Vec<Value>| (!words.is_empty()).then_some(Value::List(words));
    let text = |text: &str| Value::Text(text.to_string());
    if name == "item" {
        return Some(text(&id(i)));
    }
    let item = item?;
    match name {
        "categories" => list(item.categories.iter().map(|c| text(c)).collect()),
        "group" => item.group.map(text),
        "timestamp" => item.timestamp.map(Value::Int),
        label => match item.labels.get(label)? {
            Label::Bool(value) => Some(Value::Bool(*value)),
            Label::Int(value) => Some(Value::Int(*value)),
            Label::Float(value) => Some(Value::Float(*value)),
            Label::Text(value) => Some(text(value)),
            Label::Tags(values) => list(values.iter().map(|v| text(v)).collect()),
        },
    }
}
