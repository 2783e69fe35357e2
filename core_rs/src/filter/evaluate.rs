//! A checked filter over all items as a bitmap, or on one item. Both say the same.

use super::ast::Comparison;
use super::check::{Checked, Node, Test};
use crate::bitmap::Bitmap;
use crate::catalogue::Catalogue;
use crate::catalogue::columns::FilterColumn;
use crate::catalogue::columns::scalars::NumberTest;
use crate::catalogue::columns::text::TextTest;
use crate::catalogue::field::{Field, FieldValue};
use crate::catalogue::number::{Interval, Number};
use crate::ids::ItemIx;
use crate::names::Names;

impl Checked {
    /// Makes `out` the items that pass, as many bits as the catalogue has items, put or not. O(items) for each
    /// comparison; the first use of a field builds its column. `out` keeps its memory.
    pub fn evaluate(&self, catalogue: &Catalogue, names: &Names, out: &mut Bitmap) {
        out.reset(catalogue.len());
        Evaluation { catalogue, names }.node(&self.root, out);
    }

    /// Whether one item passes, from its metadata alone. O(comparisons).
    pub fn matches(&self, catalogue: &Catalogue, names: &Names, ix: ItemIx) -> bool {
        passes(&self.root, &|field| catalogue.value(field, ix, names))
    }
}

struct Evaluation<'a> {
    catalogue: &'a Catalogue,
    names: &'a Names,
}

impl Evaluation<'_> {
    /// Overwrites `out`, which has the right length.
    fn node(&self, node: &Node, out: &mut Bitmap) {
        match node {
            Node::Const(value) => out.fill_words(|_| if *value { u64::MAX } else { 0 }),
            Node::Not(inner) => {
                self.node(inner, out);
                out.not();
            }
            Node::And(all) => self.many(all, out, Bitmap::and),
            Node::Or(all) => self.many(all, out, Bitmap::or),
            Node::Test(Field::Item, test) => self.ids(test, out),
            Node::Test(field, test) => {
                self.test(&self.catalogue.column(field, self.names), test, out);
            }
        }
    }

    fn many(&self, all: &[Node], out: &mut Bitmap, join: fn(&mut Bitmap, &Bitmap)) {
        let Some((first, rest)) = all.split_first() else {
            return;
        };
        self.node(first, out);
        let mut part = Bitmap::zeros(out.len());
        for node in rest {
            self.node(node, &mut part);
            join(out, &part);
        }
    }

    fn test(&self, column: &FilterColumn, test: &Test, out: &mut Bitmap) {
        let simd = self.catalogue.simd();
        match test {
            Test::Bool(value) => column.bools.equal(*value, out),
            Test::Number(comparison, value) => {
                column
                    .numbers
                    .scan(simd, &interval(*comparison, *value), out);
            }
            Test::NumberIn(values) => {
                column
                    .numbers
                    .scan(simd, &NumberTest::OneOf(values.clone()), out);
            }
            Test::Text(Comparison::Equal, text) => {
                column.texts.scan(simd, TextTest::Equal(text), out);
            }
            Test::Text(Comparison::Different, text) => {
                column.texts.scan(simd, TextTest::Different(text), out);
            }
            Test::Text(comparison, text) => {
                let holds = |found: &str| comparison.holds(found.cmp(text));
                column.texts.scan_by(simd, holds, out);
            }
            Test::TextIn(texts) => column
                .texts
                .scan_by(simd, |found| texts.contains(found), out),
            Test::Has(entry) => column.lists.having(entry, out),
            Test::Missing => {
                column.present(simd, out);
                out.not();
            }
        }
    }

    /// A test of the id. Equality looks it up, everything else goes through all ids.
    fn ids(&self, test: &Test, out: &mut Bitmap) {
        out.fill_words(|_| 0);
        let mut find = |id: &str| {
            if let Some(ix) = self.names.find_item(id) {
                out.set(ix.0 as usize);
            }
        };
        match test {
            Test::Text(Comparison::Equal, id) => find(id),
            Test::TextIn(ids) => ids.iter().for_each(|id| find(id)),
            _ => {
                for i in 0..self.catalogue.len().min(self.names.items.len()) {
                    let id = self.names.item(ItemIx(i as u32));
                    out.put(i, test_value(test, FieldValue::Text(id)));
                }
            }
        }
    }
}

fn interval(comparison: Comparison, value: Number) -> NumberTest {
    NumberTest::Inside(match comparison {
        Comparison::Equal => Interval::only(value),
        Comparison::Different => return NumberTest::Outside(Interval::only(value)),
        Comparison::Below => Interval::up_to(value, false),
        Comparison::AtMost => Interval::up_to(value, true),
        Comparison::Above => Interval::from(value, false),
        Comparison::AtLeast => Interval::from(value, true),
    })
}

fn passes<'a>(node: &Node, value: &impl Fn(&Field) -> FieldValue<'a>) -> bool {
    match node {
        Node::Const(value) => *value,
        Node::Not(inner) => !passes(inner, value),
        Node::And(all) => all.iter().all(|node| passes(node, value)),
        Node::Or(all) => all.iter().any(|node| passes(node, value)),
        Node::Test(field, test) => test_value(test, value(field)),
    }
}

fn test_value(test: &Test, value: FieldValue<'_>) -> bool {
    match (test, value) {
        (Test::Missing, value) => value.is_missing(),
        (Test::Bool(wanted), FieldValue::Bool(value)) => *wanted == value,
        (Test::Number(comparison, bound), FieldValue::Number(value)) => {
            comparison.holds(value.cmp(bound))
        }
        (Test::NumberIn(values), FieldValue::Number(value)) => values.binary_search(&value).is_ok(),
        (Test::Text(comparison, bound), FieldValue::Text(value)) => {
            comparison.holds(value.cmp(bound))
        }
        (Test::TextIn(texts), FieldValue::Text(value)) => texts.contains(value),
        (Test::Has(entry), list) => list.entries().any(|found| *found == **entry),
        _ => false,
    }
}
