use std::collections::BTreeMap;

use proptest::prelude::*;

use super::shop::Shop;
use super::steps::{ITEMS, Item, LABELS, Step, apply, id, number, step, teach, value_of, word};
use crate::bitmap::Bitmap;
use crate::filter::ast::{Atom, Comparison, Expr, Operand, Set};
use crate::filter::{Filter, Params, Value};
use crate::ids::ItemIx;
use crate::items::vectors::Vectors;
use crate::snapshot::codec::{PartReader, PartWriter};

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
        let many = prop::collection::vec(inner.clone(), 2..6);
        prop_oneof![
            many.clone().prop_map(Expr::And),
            many.prop_map(Expr::Or),
            inner.prop_map(|expr| Expr::Not(Box::new(expr))),
        ]
    })
}

/// The same filter with every other value as a parameter, by turns bare and behind a dollar sign; some lists as one.
fn with_params(expr: &Expr, params: &mut Params) -> Expr {
    let mut given = |value: Value| {
        let name = format!("p{}", params.len());
        let dollar = params.len() % 2 == 1;
        params.insert(name.clone(), value);
        atom(if dollar {
            Atom::Parameter(name)
        } else {
            Atom::Name(name)
        })
    };
    let mut turn = 0;
    let mut replace = |operand: &Operand| match &operand.what {
        Atom::Value(value) => {
            turn += 1;
            if turn % 2 == 0 {
                given(value.clone())
            } else {
                operand.clone()
            }
        }
        _ => operand.clone(),
    };
    match expr {
        Expr::Compare(left, how, right) => Expr::Compare(replace(left), *how, replace(right)),
        Expr::In(left, Set::List(values, _), negated) if values.len() % 3 == 0 => {
            let values = values.iter().filter_map(|v| match &v.what {
                Atom::Value(value) => Some(value.clone()),
                _ => None,
            });
            let list = given(Value::List(values.collect()));
            Expr::In(left.clone(), Set::Named(list), *negated)
        }
        Expr::In(left, Set::List(values, span), negated) => {
            let values = values.iter().map(&mut replace).collect();
            Expr::In(left.clone(), Set::List(values, span.clone()), *negated)
        }
        Expr::In(left, Set::Named(list), negated) => Expr::In(
            given_or_left(left, &mut given),
            Set::Named(list.clone()),
            *negated,
        ),
        Expr::Bare(operand) => Expr::Bare(given_or_left(operand, &mut given)),
        Expr::Missing(field, negated) => Expr::Missing(field.clone(), *negated),
        Expr::Not(inner) => Expr::Not(Box::new(with_params(inner, params))),
        Expr::And(all) => Expr::And(all.iter().map(|e| with_params(e, params)).collect()),
        Expr::Or(all) => Expr::Or(all.iter().map(|e| with_params(e, params)).collect()),
    }
}

fn given_or_left(operand: &Operand, given: &mut impl FnMut(Value) -> Operand) -> Operand {
    match &operand.what {
        Atom::Value(value) => given(value.clone()),
        _ => operand.clone(),
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
        .read(&mut reader, &mut restored.names, &mut Vectors::default())
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
            let text = with_params(expr, &mut params).to_string();
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
