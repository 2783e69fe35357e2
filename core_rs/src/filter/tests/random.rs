use std::collections::BTreeMap;

use proptest::prelude::*;

use super::shop::Shop;
use crate::bitmap::Bitmap;
use crate::catalogue::{ItemChange, Label};
use crate::filter::ast::{Atom, Comparison, Expr, Operand, Set};
use crate::filter::{Filter, Params, Value};
use crate::ids::{ItemIx, TagIx};
use crate::snapshot::codec::{PartReader, PartWriter};

/// Labels and the kinds of value that they have: booleans, numbers, texts, lists.
const LABELS: [(&str, [bool; 4]); 6] = [
    ("price", [false, true, false, false]),
    ("brand", [false, false, true, false]),
    ("on_sale", [true, false, false, false]),
    ("colours", [false, false, false, true]),
    ("mixed", [true, true, true, true]),
    ("odd `name`", [false, true, true, false]),
];
const WORDS: [&str; 5] = ["a", "b", "it's", "ä\n\\", ""];
const ITEMS: usize = 140;

/// One change of one item.
#[derive(Clone, Debug)]
enum Step {
    Named(usize),
    Deleted(usize),
    /// The flag says put instead of patch.
    Changed(usize, bool, Change),
}

#[derive(Clone, Debug)]
struct Change {
    categories: Option<Vec<&'static str>>,
    labels: Vec<(&'static str, Option<Label>)>,
    hidden: Option<bool>,
    timestamp: Option<i64>,
    group: Option<&'static str>,
}

/// What the slow evaluator knows of an item that was put.
#[derive(Clone, Debug, Default)]
struct Item {
    categories: Vec<&'static str>,
    labels: BTreeMap<&'static str, Label>,
    hidden: bool,
    timestamp: Option<i64>,
    group: Option<&'static str>,
}

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(WORDS.to_vec())
}

/// Numbers that are multiples of a quarter: what the slow evaluator can tell apart exactly.
fn number() -> impl Strategy<Value = Value> {
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

fn label(kinds: [bool; 4]) -> BoxedStrategy<Label> {
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

fn change() -> impl Strategy<Value = Change> {
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

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..ITEMS).prop_map(Step::Named),
        1 => (0..ITEMS).prop_map(Step::Deleted),
        8 => (0..ITEMS, any::<bool>(), change()).prop_map(|(i, put, change)| Step::Changed(i, put, change)),
    ]
}

fn id(i: usize) -> String {
    format!("item {i}")
}

/// Puts an item that has every label in every kind, one after the other, so that all of them are known.
fn teach(shop: &mut Shop) {
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

fn apply(step: &Step, shop: &mut Shop, model: &mut BTreeMap<usize, Option<Item>>) {
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

fn atom(what: Atom) -> Operand {
    Operand { what, span: 0..0 }
}

fn field(name: &str) -> Operand {
    let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    atom(if plain {
        Atom::Name(name.into())
    } else {
        Atom::Quoted(name.into())
    })
}

/// A value, now and then as a parameter, which `settle` numbers.
fn operand(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Operand> {
    value.prop_map(|value| atom(Atom::Value(value))).boxed()
}

fn comparison() -> impl Strategy<Value = Comparison> {
    use Comparison::{Above, AtLeast, AtMost, Below, Different, Equal};
    prop::sample::select(vec![Equal, Different, Below, AtMost, Above, AtLeast])
}

fn text() -> impl Strategy<Value = Value> {
    word().prop_map(|text| Value::Text(text.into()))
}

/// Names of fields with values of a kind.
fn named(kind: usize) -> impl Strategy<Value = &'static str> {
    let built_in: &[&str] = match kind {
        1 => &["timestamp"],
        2 => &["item", "group"],
        3 => &["categories"],
        _ => &[],
    };
    let labels = LABELS
        .iter()
        .filter(move |(_, kinds)| kinds[kind])
        .map(|(name, _)| *name);
    prop::sample::select(labels.chain(built_in.iter().copied()).collect::<Vec<_>>())
}

fn leaf() -> impl Strategy<Value = Expr> {
    let compare = |kind: usize, value: BoxedStrategy<Operand>| {
        (named(kind), comparison(), value, any::<bool>()).prop_map(
            move |(name, how, value, turned)| {
                let how = if kind == 0 && !matches!(how, Comparison::Different) {
                    Comparison::Equal
                } else {
                    how
                };
                if turned {
                    Expr::Compare(value, how, field(name))
                } else {
                    Expr::Compare(field(name), how, value)
                }
            },
        )
    };
    let one_of = |kind: usize, value: BoxedStrategy<Operand>| {
        (
            named(kind),
            prop::collection::vec(value, 0..12),
            any::<bool>(),
        )
            .prop_map(|(name, values, negated)| {
                Expr::In(field(name), Set::List(values, 0..0), negated)
            })
    };
    let id = prop_oneof![text(), (0..ITEMS).prop_map(|i| Value::Text(id(i)))];
    prop_oneof![
        compare(0, operand(any::<bool>().prop_map(Value::Bool))),
        compare(1, operand(number())),
        compare(2, operand(id)),
        one_of(1, operand(number())),
        one_of(2, operand(text())),
        (named(3), operand(text()), any::<bool>()).prop_map(|(name, value, negated)| Expr::In(
            value,
            Set::Named(field(name)),
            negated
        )),
        (0usize..4, any::<bool>())
            .prop_flat_map(|(kind, negated)| named(kind)
                .prop_map(move |name| Expr::Missing(field(name), negated))),
        named(0).prop_map(|name| Expr::Bare(field(name))),
        any::<bool>().prop_map(|value| Expr::Bare(atom(Atom::Value(Value::Bool(value))))),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    leaf().prop_recursive(5, 24, 4, |inner| {
        let many = prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            many.clone().prop_map(Expr::And),
            many.prop_map(Expr::Or),
            inner.prop_map(|expr| Expr::Not(Box::new(expr))),
        ]
    })
}

/// The same filter with every other value as a parameter, by turns bare and behind a dollar sign; lists of values too.
fn with_params(expr: &Expr, params: &mut Params, turn: &mut usize) -> Expr {
    let mut replace = |operand: &Operand| match &operand.what {
        Atom::Value(value) => {
            *turn += 1;
            let name = format!("p{turn}");
            match *turn % 4 {
                0 => atom(Atom::Name(name.clone())),
                2 => atom(Atom::Parameter(name.clone())),
                _ => return operand.clone(),
            }
            .clone_into_params(name, value, params)
        }
        _ => operand.clone(),
    };
    match expr {
        Expr::Compare(left, how, right) => Expr::Compare(replace(left), *how, replace(right)),
        Expr::In(left, Set::List(values, span), negated) => Expr::In(
            replace(left),
            Set::List(values.iter().map(&mut replace).collect(), span.clone()),
            *negated,
        ),
        Expr::In(left, Set::Named(name), negated) => {
            Expr::In(replace(left), Set::Named(name.clone()), *negated)
        }
        Expr::Bare(operand) => Expr::Bare(replace(operand)),
        Expr::Missing(field, negated) => Expr::Missing(field.clone(), *negated),
        Expr::Not(inner) => Expr::Not(Box::new(with_params(inner, params, turn))),
        Expr::And(all) => Expr::And(all.iter().map(|e| with_params(e, params, turn)).collect()),
        Expr::Or(all) => Expr::Or(all.iter().map(|e| with_params(e, params, turn)).collect()),
    }
}

impl Operand {
    fn clone_into_params(self, name: String, value: &Value, params: &mut Params) -> Self {
        params.insert(name, value.clone());
        self
    }
}

/// An item's value in a field, as a filter would write it; `None` if there is none.
fn value_of(name: &str, i: usize, item: Option<&Item>) -> Option<Value> {
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

/// A number in quarters.
fn quarters(value: &Value) -> Option<i128> {
    match value {
        Value::Int(int) => Some(i128::from(*int) * 4),
        Value::Float(float) => Some((float * 4.0) as i128),
        _ => None,
    }
}

fn compares(left: &Value, how: Comparison, right: &Value) -> bool {
    match (left, right) {
        (Value::Text(a), Value::Text(b)) => how.holds(a.as_bytes().cmp(b.as_bytes())),
        (Value::Bool(a), Value::Bool(b)) => how.holds(a.cmp(b)),
        _ => match (quarters(left), quarters(right)) {
            (Some(a), Some(b)) => how.holds(a.cmp(&b)),
            _ => false,
        },
    }
}

/// The filter on one item by its definition.
fn slow(expr: &Expr, i: usize, item: Option<&Item>) -> bool {
    let value = |operand: &Operand| match &operand.what {
        Atom::Value(value) => Some(value.clone()),
        Atom::Name(name) | Atom::Quoted(name) => value_of(name, i, item),
        Atom::Parameter(_) => unreachable!(),
    };
    let compare = |left: &Operand, how, right: &Operand| matches!((value(left), value(right)), (Some(a), Some(b)) if compares(&a, how, &b));
    match expr {
        Expr::Or(all) => all.iter().any(|e| slow(e, i, item)),
        Expr::And(all) => all.iter().all(|e| slow(e, i, item)),
        Expr::Not(inner) => !slow(inner, i, item),
        Expr::Compare(left, how, right) => compare(left, *how, right),
        Expr::In(left, Set::List(values, _), negated) => {
            values.iter().any(|v| compare(left, Comparison::Equal, v)) != *negated
        }
        Expr::In(left, Set::Named(list), negated) => {
            matches!((value(left), value(list)), (Some(a), Some(Value::List(all))) if all.contains(&a))
                != *negated
        }
        Expr::Missing(field, negated) => value(field).is_none() != *negated,
        Expr::Bare(operand) => value(operand) == Some(Value::Bool(true)),
    }
}

fn evaluated(shop: &Shop, filter: &Filter, params: &Params) -> Bitmap {
    let checked = filter
        .check(&shop.catalogue, params)
        .expect("a sound filter");
    let mut bits = Bitmap::default();
    checked.evaluate(&shop.catalogue, &shop.names, &mut bits);
    for i in 0..shop.catalogue.len() {
        assert_eq!(
            checked.matches(&shop.catalogue, &shop.names, ItemIx(i as u32)),
            bits.get(i)
        );
    }
    bits
}

fn digest(shop: &Shop) -> u128 {
    let mut writer = PartWriter::digest(&shop.names);
    shop.catalogue.write(&mut writer);
    writer.finish_digest()
}

/// Texts of all values in a field, item by item.
fn values(shop: &Shop, name: &str) -> Option<Vec<Vec<String>>> {
    let values = shop.catalogue.values(name, &shop.names).ok()?;
    let of = |i| {
        values
            .of(ItemIx(i))
            .iter()
            .map(|code| values.text(*code).to_string())
            .collect()
    };
    Some((0..shop.catalogue.len() as u32).map(of).collect())
}

/// Visibility as bits is what the last step on each item says.
fn check_visible(shop: &Shop, steps: &[Step], model: &BTreeMap<usize, Option<Item>>) {
    let deleted = |i: usize| {
        steps.iter().rev().find_map(|step| match step {
            Step::Deleted(d) if *d == i => Some(true),
            Step::Changed(c, ..) if *c == i => Some(false),
            _ => None,
        })
    };
    for (i, item) in model {
        let ix = shop.names.find_item(&id(*i)).expect("a named item");
        let shown = match item {
            Some(item) => !item.hidden,
            None => deleted(*i) != Some(true),
        };
        assert_eq!(shop.catalogue.visible_bits().get(ix.0 as usize), shown);
        assert_eq!(shop.catalogue.visible(ix), shown);
    }
    assert_eq!(shop.catalogue.visible_bits().len(), shop.catalogue.len());
}

/// A catalogue read back from a snapshot, with other numbers for its items, finds the same.
fn check_restored(
    shop: &Shop,
    filters: &[(Filter, Params)],
    model: &BTreeMap<usize, Option<Item>>,
) {
    let mut writer = PartWriter::snapshot(&shop.names);
    shop.catalogue.write(&mut writer);
    let bytes = writer.finish_snapshot();
    let mut restored = Shop::empty();
    restored.name("first of all");
    let mut reader = PartReader::new("catalogue", &bytes, &mut restored.names).unwrap();
    restored
        .catalogue
        .read(&mut reader, &mut restored.names)
        .unwrap();
    for i in model.keys() {
        restored.name(&id(*i));
    }
    assert_eq!(digest(&restored), digest(shop));
    assert_eq!(restored.catalogue.put_items(), shop.catalogue.put_items());
    for (filter, params) in filters {
        // What no item has at the time of the snapshot is unknown after it.
        if filter.check(&restored.catalogue, params).is_err() {
            continue;
        }
        let (found, again) = (
            evaluated(shop, filter, params),
            evaluated(&restored, filter, params),
        );
        for i in model.keys() {
            let at = |shop: &Shop| shop.names.find_item(&id(*i)).expect("a named item").0 as usize;
            assert_eq!(found.get(at(shop)), again.get(at(&restored)));
        }
    }
}

const GROUPING: [&str; 5] = ["categories", "group", "brand", "colours", "on_sale"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn filters_find_what_their_definition_says(
        steps in prop::collection::vec(step(), 0..250),
        middle in 0usize..250,
        exprs in prop::collection::vec(expr(), 1..4),
    ) {
        // One catalogue has its columns from the middle on, the other builds them at the end.
        let (mut early, mut late) = (Shop::empty(), Shop::empty());
        let mut model = BTreeMap::from([(0, Some(Item::default()))]);
        teach(&mut early);
        teach(&mut late);
        let filters: Vec<(Filter, Params)> = exprs.iter().map(|expr| {
            let mut params = Params::new();
            let text = with_params(expr, &mut params, &mut 0).to_string();
            let filter = Filter::parse(&text).expect(&text);
            assert_eq!(filter.root().to_string(), text);
            (filter, params)
        }).collect();
        for (n, step) in steps.iter().enumerate() {
            if n == middle {
                let before = digest(&early);
                filters.iter().for_each(|(filter, params)| { evaluated(&early, filter, params); });
                GROUPING.iter().for_each(|name| { values(&early, name); });
                prop_assert_eq!(digest(&early), before);
            }
            let version = early.catalogue.version();
            apply(step, &mut early, &mut model);
            let named = matches!(step, Step::Named(_));
            prop_assert!(named || early.catalogue.version() > version);
            apply(step, &mut late, &mut BTreeMap::new());
        }
        for (expr, (filter, params)) in exprs.iter().zip(&filters) {
            let found = evaluated(&early, filter, params);
            for (i, item) in &model {
                let ix = early.names.find_item(&id(*i)).expect("a named item");
                prop_assert_eq!(found.get(ix.0 as usize), slow(expr, *i, item.as_ref()), "{} on {:?}", expr, item);
            }
            prop_assert_eq!(found, evaluated(&late, filter, params));
        }
        for name in GROUPING {
            prop_assert_eq!(values(&early, name), values(&late, name));
        }
        prop_assert_eq!(digest(&early), digest(&late));
        check_visible(&early, &steps, &model);
        check_restored(&early, &filters, &model);
    }
}
