use proptest::prelude::*;

use super::shop::Shop;
use crate::filter::{Filter, MAX_DEPTH, MAX_LIST, MAX_TEXT, Params, Value};

/// Filter, first character and number of characters of the place, words of the message.
type Case<'a> = (&'a str, usize, usize, &'a [&'a str]);

fn check_cases(cases: &[Case<'_>], params: &Params) {
    let shop = Shop::small();
    for (filter, at, len, words) in cases {
        let error = shop.find(filter, params).expect_err(filter);
        assert_eq!(
            (error.at, error.len),
            (Some(*at), *len),
            "{filter}: {error}"
        );
        for word in *words {
            assert!(
                error.message.contains(word),
                "{filter}: {error} has no {word}"
            );
        }
    }
}

#[test]
fn syntax_errors_name_what_is_there_and_what_should_be() {
    check_cases(
        &[
            ("", 0, 0, &["ends where", "a field, a value, `not` or `(`"]),
            ("  ", 2, 0, &["ends where"]),
            ("price <", 7, 0, &["ends where a field or a value"]),
            ("price < and", 8, 3, &["found and", "stands in backticks"]),
            ("price 5", 6, 1, &["found 5", "`and`, `or` or the end"]),
            ("1 < price < 5", 10, 1, &["found <", "do not chain"]),
            ("(price < 5", 10, 0, &["`and`, `or` or `)`"]),
            ("price < 5)", 9, 1, &["found )"]),
            ("price < 5 and", 13, 0, &["ends where a field"]),
            (
                "price < 5 and or on_sale",
                14,
                2,
                &["found or", "a field, a value"],
            ),
            ("brand in", 8, 0, &["a list in [ ]"]),
            ("brand in ['a'", 13, 0, &["`,` or `]`"]),
            ("brand in ('a']", 13, 1, &["found ]", "`,` or `)`"]),
            ("brand in ['a',]", 14, 1, &["found ]", "a value"]),
            ("brand not 'a'", 10, 3, &["found 'a'", "`in`"]),
            ("brand is 'a'", 9, 3, &["`missing` or `not missing`"]),
            ("brand is not null", 13, 4, &["found null", "`missing`"]),
            (
                "größe == 'ä' und",
                13,
                3,
                &["found und", "`and`, `or` or the end"],
            ),
            ("price < 5 && on_sale", 10, 2, &["write `and` for `&&`"]),
            ("!on_sale", 0, 1, &["write `not` for `!`"]),
            ("price <> 5", 6, 2, &["write `!=` for `<>`"]),
            ("price # 5", 6, 1, &["'#' means nothing here"]),
            ("brand == 'acme", 9, 1, &["quote is never closed"]),
            (r"brand == 'a\x'", 11, 1, &["backslash"]),
            (r"brand == '\u{110000}'", 10, 1, &["backslash"]),
            (r"brand == '\", 10, 1, &["backslash"]),
            ("`brand == 1", 0, 1, &["backtick is never closed"]),
            ("`` == 1", 0, 2, &["no name between"]),
            (
                "price < 5kg",
                8,
                3,
                &["`5kg` is neither a number nor a name"],
            ),
            ("price < 9223372036854775808", 8, 19, &["out of range"]),
            ("price < 1e999", 8, 5, &["out of range"]),
            ("price < -", 8, 1, &["must be followed by a number"]),
            ("price < $", 8, 1, &["followed by a parameter's name"]),
            ("price < .5", 8, 1, &["'.' means nothing here"]),
        ],
        &Params::new(),
    );
}

#[test]
fn names_and_types_are_checked() {
    check_cases(
        &[
            (
                "prise < 5",
                0,
                5,
                &[r#"no item has a field "prise""#, r#"did you mean "price""#],
            ),
            ("on_sale and colour", 12, 6, &[r#"did you mean "colours""#]),
            (
                "zzzzz < 5",
                0,
                5,
                &[
                    "no such parameter is given",
                    "fields: item, categories, group, timestamp, brand",
                ],
            ),
            (
                "price < $max",
                8,
                4,
                &[r#"no parameter "max" is given; none are"#],
            ),
            ("price == null", 9, 4, &["FIELD is missing"]),
            ("`sale` == 1", 0, 6, &[r#"no item has a field "sale""#]),
            (
                "on_sale == 'yes'",
                11,
                5,
                &[r#""on_sale" is true or false, but 'yes' is a text"#],
            ),
            (
                "3 < colours",
                0,
                1,
                &[r#""colours" is a list, but 3 is a number"#],
            ),
            (
                "categories == 'shoes'",
                14,
                7,
                &["write `'shoes' in categories`"],
            ),
            ("on_sale < true", 10, 4, &["no order", "== and !="]),
            ("timestamp > 'x'", 12, 3, &["is a number"]),
            ("price", 0, 5, &["is a number or a text, not true or false"]),
            ("on_sale and 3", 12, 1, &["3 is a number, not a condition"]),
            ("price < brand", 8, 5, &["two fields"]),
            ("1 < 2", 0, 1, &["two values"]),
            ("3 is missing", 0, 1, &["only a field can be missing"]),
            ("'x' in brand", 7, 5, &["a number or a text, not a list"]),
            ("'x' in 'xyz'", 7, 5, &["not a list; write ['xyz']"]),
            ("3 in categories", 0, 1, &["lists of items hold texts"]),
            ("'x' in ['x']", 0, 3, &["a field must stand on the left"]),
            (
                "brand in categories",
                0,
                5,
                &["cannot be looked for in another"],
            ),
            ("categories in ['a']", 14, 5, &["'a' in categories or"]),
            ("brand in ['a', price]", 15, 5, &["cannot stand in a list"]),
            (
                "on_sale in [true, 'a']",
                18,
                3,
                &["true or false, but 'a' is a text"],
            ),
        ],
        &Params::new(),
    );
}

#[test]
fn parameters_are_checked() {
    let given = |name: &str, value: Value| Params::from([(name.to_string(), value)]);
    let list = |len: usize| Value::List(vec![Value::Int(1); len]);
    let nested = Value::List(vec![Value::List(vec![])]);
    check_cases(
        &[(
            "price < price",
            0,
            5,
            &["write $price", "`price` for the field"],
        )],
        &given("price", Value::Int(1)),
    );
    check_cases(
        &[("price < max", 8, 3, &["finite"])],
        &given("max", Value::Float(f64::NAN)),
    );
    check_cases(
        &[(
            "price < max",
            8,
            3,
            &["[1] is a list; write `price in ...`"],
        )],
        &given("max", list(1)),
    );
    check_cases(
        &[("price in x", 9, 1, &["a list inside a list"])],
        &given("x", nested),
    );
    check_cases(
        &[("price in x", 9, 1, &["1001 values", "at most 1000"])],
        &given("x", list(MAX_LIST + 1)),
    );
    check_cases(
        &[("price in [$x]", 10, 2, &["a list inside a list"])],
        &given("x", list(1)),
    );
    check_cases(
        &[("price < $y", 8, 2, &["given are x"])],
        &given("x", list(1)),
    );
    check_cases(
        &[("brand in x", 9, 1, &["not a list; write [1]"])],
        &given("x", Value::Int(1)),
    );
    let shop = Shop::small();
    let unused = shop
        .find("price < 5", &given("max", Value::Int(1)))
        .unwrap_err();
    assert_eq!(unused.at, None);
    assert_eq!(
        unused.to_string(),
        r#"the filter does not use the given parameter "max""#
    );
    assert!(shop.find("price in x", &given("x", list(MAX_LIST))).is_ok());
}

#[test]
fn the_display_points_at_the_place() {
    let shop = Shop::small();
    let error = shop
        .find("on_sale and\n\tprise < 5", &Params::new())
        .unwrap_err();
    let (first, rest) = error
        .to_string()
        .split_once('\n')
        .map(|(a, b)| (a.to_string(), b.to_string()))
        .unwrap();
    assert!(first.ends_with("(at character 13)"), "{first}");
    assert_eq!(rest, "   prise < 5\n   ^^^^^");
    let long = format!(
        "{} or prise < 5 or {}",
        ["on_sale"; 100].join(" or "),
        ["on_sale"; 100].join(" or ")
    );
    let shown = shop.find(&long, &Params::new()).unwrap_err().to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 3);
    let column = lines[2].find('^').unwrap();
    assert!(lines[1].len() < 130 && lines[1][column..].starts_with("prise"));
    let error = shop.find("x", &Params::new()).unwrap_err();
    assert!(error.at == Some(0) && error.to_string().contains("at character 0"));
}

#[test]
fn bounds_hold_on_a_small_stack() {
    let run = || {
        let nested = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
        let nots = |depth: usize| format!("{}true", "not ".repeat(depth));
        let shop = Shop::small();
        for text in [nested(MAX_DEPTH), nots(MAX_DEPTH)] {
            assert_eq!(shop.find(&text, &Params::new()).unwrap().len(), 5);
        }
        let error = Filter::parse(&nested(MAX_DEPTH + 1)).unwrap_err();
        assert_eq!((error.at, error.len), (Some(MAX_DEPTH), 1));
        assert!(error.message.contains("deeper than 64"));
        let error = Filter::parse(&nots(MAX_DEPTH + 1)).unwrap_err();
        assert_eq!((error.at, error.len), (Some(4 * MAX_DEPTH), 3));
        assert!(Filter::parse(&"(".repeat(MAX_TEXT)).is_err());
        assert!(Filter::parse(&"not ".repeat(MAX_TEXT / 4)).is_err());
    };
    let thread = std::thread::Builder::new()
        .stack_size(512 * 1024)
        .spawn(run)
        .unwrap();
    thread.join().unwrap();
}

#[test]
fn long_texts_and_lists_are_refused() {
    let padded = |len: usize| format!("{}true", " ".repeat(len - 4));
    assert!(Filter::parse(&padded(MAX_TEXT)).is_ok());
    let error = Filter::parse(&padded(MAX_TEXT + 1)).unwrap_err();
    assert_eq!(error.at, None);
    assert!(error.message.contains("4097 bytes; at most 4096"));
    let list = |len: usize| format!("price in [{}]", vec!["1"; len].join(","));
    assert!(Filter::parse(&list(MAX_LIST)).is_ok());
    let error = Filter::parse(&list(MAX_LIST + 1)).unwrap_err();
    assert_eq!((error.at, error.len), (Some(9), 2 * MAX_LIST + 3));
    assert!(error.message.contains("1001 values"));
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "price",
        "on_sale",
        "categories",
        "'shoes'",
        "'",
        "\"",
        "`",
        "$",
        "max",
        "5",
        "-",
        "1e9",
        "1e",
        "0.5",
        "(",
        ")",
        "[",
        "]",
        ",",
        "==",
        "=",
        "!",
        "<",
        ">",
        "&&",
        "and",
        "or",
        "not",
        "in",
        "is",
        "missing",
        "true",
        "\\",
        "\\u{e9}",
        " ",
        "\n",
        "ä",
        "\u{0}",
    ]);
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics(text in prop_oneof!["\\PC*", any::<String>(), pieces()]) {
        let shop = Shop::small();
        let params = Params::from([("max".to_string(), Value::Int(50))]);
        match Filter::parse(&text).and_then(|filter| filter.check(&shop.catalogue, &params)) {
            Ok(_) => {
                shop.find(&text, &params).unwrap();
            }
            Err(error) => {
                let end = error.at.map_or(0, |at| at + error.len);
                prop_assert!(end <= text.chars().count());
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
