use std::sync::Arc;

use super::shop::Shop;
use crate::catalogue::columns::MAX_COLUMNS;
use crate::catalogue::field::FieldError;
use crate::catalogue::{ItemChange, Label};
use crate::filter::{FilterCache, Params, Unheard, Value};

fn params(given: &[(&str, Value)]) -> Params {
    given
        .iter()
        .map(|(k, v)| (k.to_string(), v.clone()))
        .collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_string())
}

#[test]
fn every_construct_finds_its_items() {
    let shop = Shop::small();
    let everything: &[&str] = &["boot", "sandal", "bare", "odd", "named"];
    let cases: &[(&str, &[&str])] = &[
        ("price < 49.5", &["sandal"]),
        ("price <= 49.5", &["boot", "sandal"]),
        ("20 = price", &["sandal"]),
        ("20.0 < price", &["boot"]),
        ("price != 20", &["boot"]),
        ("price != 'x'", &["odd"]),
        ("not price == 20", &["boot", "bare", "odd", "named"]),
        ("price > -1e3 AND NOT Price_is_not_a_keyword", &[]),
        ("'shoes' in categories", &["boot", "sandal"]),
        ("'shoes' not in categories", &["bare", "odd", "named"]),
        ("'red' in colours", &["boot"]),
        ("'nothing like it' in categories", &[]),
        ("brand in ['acme', \"nadir\"]", &["boot", "sandal"]),
        ("brand in ('acme', 7)", &["boot", "odd"]),
        ("brand not in ['acme']", &["sandal", "bare", "odd", "named"]),
        ("price in [20, 49.5, 1]", &["boot", "sandal"]),
        ("on_sale in [true, false]", &["boot", "sandal"]),
        ("brand in []", &[]),
        ("brand >= 'b'", &["sandal"]),
        ("on_sale", &["boot"]),
        ("on_sale == false", &["sandal"]),
        ("on_sale != true", &["sandal"]),
        ("price is missing", &["bare", "named"]),
        ("price is not Missing", &["boot", "sandal", "odd"]),
        ("colours is missing", &["sandal", "bare", "odd", "named"]),
        ("categories is missing", &["bare", "named"]),
        (
            "item == 'boot' or item in ['odd', 'gone']",
            &["boot", "odd"],
        ),
        ("item < 'boot'", &["bare"]),
        ("item != 'boot'", &["sandal", "bare", "odd", "named"]),
        ("item is missing", &[]),
        ("`on sale since` > '2026'", &["boot"]),
        ("on_sale or price < 30 and brand == 'acme'", &["boot"]),
        ("(on_sale or price < 30) and brand == 'nadir'", &["sandal"]),
        ("true", everything),
        ("false or not false", everything),
        ("group is missing and timestamp is missing", everything),
    ];
    for (filter, expected) in cases {
        let filter = filter.replace("Price_is_not_a_keyword", "true");
        assert_eq!(
            shop.find(&filter, &Params::new()).as_deref(),
            Ok(*expected),
            "{filter}"
        );
    }
}

#[test]
fn parameters_stand_for_values() {
    let shop = Shop::small();
    let list = Value::List(vec![text("acme"), Value::Int(7)]);
    let given = params(&[
        ("max", Value::Int(50)),
        ("all", list),
        ("which", text("shoes")),
    ]);
    let filter = "price < max and brand in all and $which in categories";
    assert_eq!(shop.find(filter, &given).unwrap(), ["boot"]);
    let flag = params(&[("cheap", Value::Bool(false))]);
    assert_eq!(
        shop.find("not $cheap or price < 30", &flag).unwrap().len(),
        5
    );
    let price = params(&[("price", Value::Float(20.0))]);
    assert_eq!(shop.find("`price` == $price", &price).unwrap(), ["sandal"]);
    let odd = params(&[("x", text("it's \\ \"\n"))]);
    assert!(shop.find("brand == x", &odd).unwrap().is_empty());
}

#[test]
fn escapes_and_quoted_names_say_what_they_stand_for() {
    let mut shop = Shop::empty();
    shop.put("a", &[], &[("it`s", Label::Text("'\"\\\n\u{e9}".into()))]);
    shop.put(
        "b",
        &[],
        &[("größe", Label::Int(4)), ("and", Label::Bool(true))],
    );
    for (filter, expected) in [
        (r#"`it``s` == '\'"\\\n\u{e9}'"#, "a"),
        (r#"`it``s` == "'\"\\\né""#, "a"),
        ("größe >= 4 and `and`", "b"),
    ] {
        assert_eq!(
            shop.find(filter, &Params::new()).unwrap(),
            [expected],
            "{filter}"
        );
    }
}

#[test]
fn a_label_with_a_built_in_name_is_reached_in_backticks() {
    let mut shop = Shop::empty();
    shop.put("a", &["x"], &[("categories", Label::Int(3))]);
    assert_eq!(
        shop.find("`categories` == 3 and 'x' in categories", &Params::new())
            .unwrap(),
        ["a"]
    );
    assert_eq!(
        shop.find("`timestamp` is missing", &Params::new()).unwrap(),
        ["a"]
    );
}

#[test]
fn a_field_stays_known_after_its_last_item() {
    let mut shop = Shop::empty();
    let item = shop.put("a", &[], &[("price", Label::Int(3))]);
    assert_eq!(shop.find("price == 3", &Params::new()).unwrap(), ["a"]);
    shop.catalogue.delete(item);
    assert!(shop.find("price == 3", &Params::new()).unwrap().is_empty());
    assert_eq!(
        shop.find("price is missing", &Params::new()).unwrap(),
        ["a"]
    );
}

#[test]
fn a_field_that_no_item_has_yet_is_missing_where_a_configuration_names_it() {
    let mut shop = Shop::empty();
    shop.put("a", &["shoes"], &[("price", Label::Int(3))]);
    let cache = FilterCache::default();
    let ask = |shop: &Shop, text: &str, unheard| {
        cache.evaluate(text, &Params::new(), &shop.catalogue, &shop.names, unheard)
    };
    for (text, passing) in [
        ("stock > 0", 0),
        ("stock != 0", 0),
        ("not stock > 0", 1),
        ("stock is missing", 1),
        ("`in stock` or price < 5", 1),
        ("on_sale", 0),
        ("'red' in colours", 0),
        ("brand in ['acme', 3, true]", 0),
        ("brand not in ['acme']", 1),
    ] {
        let early = ask(&shop, text, Unheard::Missing).unwrap();
        assert_eq!(early.items.count(), passing, "{text}");
        assert_eq!(early.unheard.len(), 1, "{text}");
        // Kept for a configuration, it is no answer to a request.
        assert!(ask(&shop, text, Unheard::Refused).unwrap_err().at.is_some());
    }
    for text in ["stock > null", "price == stock", "stock >", "price < $max"] {
        assert!(ask(&shop, text, Unheard::Missing).is_err(), "{text}");
    }
    assert!(
        ask(&shop, "price == 'x'", Unheard::Missing).is_err(),
        "a known field keeps its types"
    );
    shop.put("b", &[], &[("stock", Label::Int(2))]);
    let known = ask(&shop, "stock > 0", Unheard::Missing).unwrap();
    assert_eq!((known.items.count(), known.unheard.len()), (1, 0));
    assert!(ask(&shop, "stock > 'x'", Unheard::Missing).is_err());
}

#[test]
fn the_cache_keeps_a_version_and_no_more() {
    let mut shop = Shop::small();
    let cache = FilterCache::new(2);
    let ask = |shop: &Shop, text: &str, given: &Params| {
        cache
            .evaluate(text, given, &shop.catalogue, &shop.names, Unheard::Refused)
            .unwrap()
            .items
    };
    let none = Params::new();
    let first = ask(&shop, "price < 30", &none);
    assert!(Arc::ptr_eq(&first, &ask(&shop, "price < 30", &none)));
    shop.put("new", &[], &[("price", Label::Int(1))]);
    let second = ask(&shop, "price < 30", &none);
    assert_eq!((first.count(), second.count()), (1, 2));
    let bound = |max: i64| params(&[("max", Value::Int(max))]);
    assert_eq!(ask(&shop, "price < max", &bound(2)).count(), 1);
    assert!(Arc::ptr_eq(&second, &ask(&shop, "price < 30", &none)));
    // The third makes room by the one that was asked longest ago.
    assert_eq!(ask(&shop, "price < max", &bound(60)).count(), 3);
    assert_eq!(cache.len(), 2);
    assert!(Arc::ptr_eq(&second, &ask(&shop, "price < 30", &none)));
    assert!(
        cache
            .evaluate(
                "price <",
                &none,
                &shop.catalogue,
                &shop.names,
                Unheard::Refused
            )
            .is_err()
    );
    let before = ask(&shop, "not price < 30", &none).count();
    shop.name("an item that only an event names");
    assert_eq!(ask(&shop, "not price < 30", &none).count(), before + 1);
}

#[test]
fn threads_that_ask_first_at_once_agree() {
    let mut shop = Shop::empty();
    for i in 0..3000i64 {
        let labels = [
            ("price", Label::Int(i)),
            ("brand", Label::Text("acme".into())),
        ];
        shop.put(&format!("item {i}"), &["shoes"], &labels);
    }
    let filter = "price < 1000 and brand == 'acme' and 'shoes' in categories";
    std::thread::scope(|scope| {
        let ask = || shop.find(filter, &Params::new()).unwrap().len();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), 1000);
        }
    });
    assert_eq!(shop.catalogue.kept_columns().len(), 3);
}

#[test]
fn no_more_columns_are_kept_than_allowed() {
    let mut shop = Shop::empty();
    let names: Vec<String> = (0..2 * MAX_COLUMNS).map(|i| format!("label{i}")).collect();
    let labels: Vec<(&str, Label)> = names.iter().map(|n| (n.as_str(), Label::Int(1))).collect();
    shop.put("a", &[], &labels);
    let find = |shop: &Shop, name: &str| {
        shop.find(&format!("{name} == 1"), &Params::new())
            .unwrap()
            .len()
    };
    for name in &names {
        assert_eq!(find(&shop, name), 1);
        assert_eq!(find(&shop, "label0"), 1);
    }
    let kept = shop.catalogue.kept_columns();
    assert_eq!(kept.len(), MAX_COLUMNS);
    assert!(kept.iter().any(|field| field.name() == "label0"));
    assert!(!kept.iter().any(|field| field.name() == "label1"));
}

#[test]
fn a_column_does_not_outgrow_what_items_hold() {
    let mut shop = Shop::empty();
    let put = |shop: &mut Shop, i: usize| {
        let stamp: Box<str> = format!("at {i}").into();
        shop.put("a", &[&format!("c{i}")], &[("stamp", Label::Text(stamp))]);
    };
    put(&mut shop, 0);
    let ask = |shop: &Shop, i: usize| {
        shop.find(
            &format!("stamp == 'at {i}' and 'c{i}' in categories"),
            &Params::new(),
        )
        .unwrap()
        .len()
    };
    assert_eq!(ask(&shop, 0), 1);
    let values = shop.catalogue.values("stamp", &shop.names).unwrap();
    drop(values);
    let before = shop.catalogue.memory();
    for i in 1..30_000 {
        put(&mut shop, i);
        if i % 1000 == 0 {
            assert_eq!(ask(&shop, i), 1);
            assert_eq!(ask(&shop, i - 1), 0);
        }
    }
    assert!(
        shop.catalogue.memory() < before + 1_500_000,
        "{}",
        shop.catalogue.memory()
    );
}

#[test]
fn values_group_items() {
    let mut shop = Shop::small();
    shop.change(
        "boot",
        ItemChange {
            group: Some("g1".into()),
            labels: Some(vec![
                (
                    "brand".into(),
                    Some(Label::Tags(
                        ["acme".into(), "acme".into(), "nadir".into()].into(),
                    )),
                ),
                ("size".into(), Some(Label::Int(42))),
                ("new".into(), Some(Label::Bool(true))),
            ]),
            ..ItemChange::default()
        },
    );
    let texts = |field: &str, id: &str| -> Vec<String> {
        let values = shop.catalogue.values(field, &shop.names).unwrap();
        let item = shop.names.find_item(id).unwrap();
        values
            .of(item)
            .iter()
            .map(|code| values.text(*code).to_string())
            .collect()
    };
    assert_eq!(texts("brand", "boot"), ["acme", "nadir"]);
    assert_eq!(texts("brand", "sandal"), ["nadir"]);
    assert_eq!(texts("brand", "odd"), ["7"]);
    assert_eq!(texts("categories", "sandal"), ["shoes", "summer"]);
    assert_eq!(
        (texts("group", "boot"), texts("group", "odd")),
        (vec!["g1".into()], vec![])
    );
    assert_eq!(
        (texts("size", "boot"), texts("new", "boot")),
        (vec!["42".into()], vec!["true".into()])
    );
    let values = shop.catalogue.values("brand", &shop.names).unwrap();
    let of = |id: &str| values.of(shop.names.find_item(id).unwrap());
    assert_eq!(of("boot")[1], of("sandal")[0]);
    assert!(of("bare").is_empty() && of("named").is_empty());
    let error = |field: &str| shop.catalogue.values(field, &shop.names).unwrap_err();
    assert!(matches!(error("price"), FieldError::NoGroups { .. }));
    assert!(matches!(error("item"), FieldError::NoGroups { .. }));
    assert_eq!(
        error("brnd").to_string(),
        r#"no item has a field "brnd"; did you mean "brand"?"#
    );
}
