//! What an event's type and value mean under the fold configuration.

use crate::config::FoldConfig;
use crate::decay::ONE;
use crate::error::CoreError;
use crate::intern::Interner;

/// Bit set of what an event counts for. Bits 8.. are "from" and 16.. "to" of the relations, in configuration order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// Votes in popularity and trending.
    pub const VOTE: u32 = 1;
    /// The user has consumed the item.
    pub const CONSUME: u32 = 2;
    /// The user rejects the item.
    pub const NEGATIVE: u32 = 4;
    /// Exposure only.
    pub const IMPRESSION: u32 = 8;
    /// Put into a cart.
    pub const CART: u32 = 16;

    /// The user shows interest.
    pub const POSITIVE: u32 = 32;
    /// The user shows strong interest.
    pub const STRONG: u32 = 64;

    /// Whether any of the bits is set.
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// Whether the event is on the "from" side of relation `r`.
    pub fn is_from(self, relation: usize) -> bool {
        self.0 >> (8 + relation) & 1 == 1
    }

    /// Whether the event is on the "to" side of relation `r`.
    pub fn is_to(self, relation: usize) -> bool {
        self.0 >> (16 + relation) & 1 == 1
    }

    /// Whether any relation cares.
    pub fn pairs(self) -> bool {
        self.0 >> 8 != 0
    }
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    Any,
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: Option<f64>) -> bool {
        match (self, value) {
            (Self::Any, _) => true,
            (Self::AtLeast(bound), Some(value)) => value >= bound,
            (Self::AtMost(bound), Some(value)) => value <= bound,
            (_, None) => false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    bound: Bound,
    flags: u32,
    affinity: u32,
}

/// All type specs of a configuration, by type.
#[derive(Debug)]
pub struct TypeRules {
    types: Interner,
    rules: Vec<Vec<Rule>>,
}

impl TypeRules {
    /// Compiles the configuration's specs. A spec that does not parse is a configuration error.
    pub fn new(config: &FoldConfig) -> Result<Self, CoreError> {
        let mut table = Self {
            types: Interner::default(),
            rules: Vec::new(),
        };
        let lists = [
            (&config.votes, Flags::VOTE),
            (&config.consumption, Flags::CONSUME),
            (&config.positive, Flags::POSITIVE),
            (&config.strong, Flags::STRONG),
            (&config.negative, Flags::NEGATIVE),
            (&config.impression, Flags::IMPRESSION),
        ];
        for (specs, flags) in lists {
            for spec in specs {
                table.add(spec, flags, 0)?;
            }
        }
        for spec in ["cart", "add_to_cart", "addtocart"] {
            table.add(spec, Flags::CART, 0)?;
        }
        for (spec, weight) in &config.affinity_weights {
            table.add(spec, 0, (weight * f64::from(ONE)) as u32)?;
        }
        for (r, relation) in config.relations.iter().enumerate() {
            for spec in &relation.from_types {
                table.add(spec, 1 << (8 + r), 0)?;
            }
            for spec in &relation.to_types {
                table.add(spec, 1 << (16 + r), 0)?;
            }
        }
        Ok(table)
    }

    fn add(&mut self, spec: &str, flags: u32, affinity: u32) -> Result<(), CoreError> {
        let (name, bound) = parse(spec)?;
        let ix = self.types.intern_str(name) as usize;
        if ix == self.rules.len() {
            self.rules.push(Vec::new());
        }
        self.rules[ix].push(Rule {
            bound,
            flags,
            affinity,
        });
        Ok(())
    }

    /// Number of a type that a list names.
    pub fn find(&self, ty: &str) -> Option<u32> {
        self.types.get(ty)
    }

    /// Flags and affinity weight (fixed point, [`ONE`] = 1.0) of an event of the type that [`TypeRules::find`] found. A
    /// type that no list names has neither: it touches the session and nothing else.
    pub fn classify(&self, ty: Option<u32>, value: Option<f64>) -> (Flags, u32) {
        let Some(ix) = ty else {
            return (Flags(0), 0);
        };
        let (mut flags, mut affinity) = (0, 0);
        for rule in &self.rules[ix as usize] {
            if rule.bound.holds(value) {
                flags |= rule.flags;
                affinity = affinity.max(rule.affinity);
            }
        }
        (Flags(flags), affinity)
    }
}

fn parse(spec: &str) -> Result<(&str, Bound), CoreError> {
    let number = |text: &str| {
        text.parse::<f64>()
            .map_err(|_| CoreError::Config(format!("type spec {spec:?}: {text:?} is not a number")))
    };
    if let Some((name, bound)) = spec.split_once(">=") {
        return Ok((name, Bound::AtLeast(number(bound)?)));
    }
    if let Some((name, bound)) = spec.split_once("<=") {
        return Ok((name, Bound::AtMost(number(bound)?)));
    }
    Ok((spec, Bound::Any))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_parse_or_say_why() {
        assert!(matches!(parse("view").unwrap(), ("view", Bound::Any)));
        assert!(matches!(parse("rating>=4").unwrap(), ("rating", Bound::AtLeast(b)) if b == 4.0));
        assert!(matches!(parse("rating<=2.5").unwrap(), ("rating", Bound::AtMost(b)) if b == 2.5));
        assert!(parse("rating>=four").is_err());
    }

    #[test]
    fn a_bound_needs_a_value() {
        assert!(!Bound::AtLeast(4.0).holds(None));
        assert!(Bound::AtLeast(4.0).holds(Some(4.0)));
        assert!(!Bound::AtMost(2.0).holds(Some(2.5)));
    }
}
