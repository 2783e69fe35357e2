//! Candidate sources by name.

use crate::fold::state::State;
use crate::query::text::Text;

/// Prefix of the sources that look for neighbours in an embedding.
pub const VECTOR: &str = "vector:";

/// Where candidates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Neighbours of the seeds in a relation.
    Relation(usize),
    /// Sessions like the visitor's.
    SessionKnn,
    /// What the visitor touched in this session.
    Repeats,
    /// Popular items with the visitor's tags.
    TagAffinity,
    /// Trending overall.
    Trending,
    /// Trending among items with the visitor's tags.
    TrendingInTags,
    /// Trending among visitors of the same segment.
    TrendingInSegment,
    /// Popular overall.
    Popular,
    /// Popular among visitors of the same segment.
    PopularInSegment,
    /// New items that were not yet served often.
    Fresh,
    /// The caller's own list, in its order.
    List,
    /// Items near the visitor's in the embedding of that name.
    Vector(String),
}

impl Source {
    /// The source of that name, if there can be one.
    pub fn named(state: &State, name: &str) -> Option<Self> {
        Some(match name {
            "session-knn" => Self::SessionKnn,
            "repeats" => Self::Repeats,
            "tag-affinity" => Self::TagAffinity,
            "trending" => Self::Trending,
            "trending-in-tags" => Self::TrendingInTags,
            "trending-in-segment" => Self::TrendingInSegment,
            "popular" => Self::Popular,
            "popular-in-segment" => Self::PopularInSegment,
            "fresh" => Self::Fresh,
            "list" => Self::List,
            _ => match name.strip_prefix(VECTOR) {
                Some(embedding) if !embedding.is_empty() => Self::Vector(embedding.to_string()),
                _ => Self::Relation(state.relations.iter().position(|r| r.name == name)?),
            },
        })
    }

    /// Its name as a text, `name` where the program does not know it.
    pub fn text(&self, name: &str) -> Text {
        Text::Fixed(match self {
            Self::SessionKnn => "session-knn",
            Self::Repeats => "repeats",
            Self::TagAffinity => "tag-affinity",
            Self::Trending => "trending",
            Self::TrendingInTags => "trending-in-tags",
            Self::TrendingInSegment => "trending-in-segment",
            Self::Popular => "popular",
            Self::PopularInSegment => "popular-in-segment",
            Self::Fresh => "fresh",
            Self::List => "list",
            Self::Relation(_) | Self::Vector(_) => return name.into(),
        })
    }

    /// Whether it ranks by votes.
    pub fn counts_votes(&self) -> bool {
        self.is_trending() || matches!(self, Self::Popular | Self::PopularInSegment)
    }

    /// Whether it ranks by recent votes.
    pub fn is_trending(&self) -> bool {
        matches!(
            self,
            Self::Trending | Self::TrendingInTags | Self::TrendingInSegment
        )
    }

    /// Whether it ranks leaders by votes and nothing else.
    pub fn leads_alone(&self) -> bool {
        self.counts_votes() && *self != Self::TrendingInTags
    }

    /// Whether only votes of the visitor's segment count.
    pub fn is_in_segment(&self) -> bool {
        matches!(self, Self::TrendingInSegment | Self::PopularInSegment)
    }

    /// Whether what it says depends on what the visitor did.
    pub fn is_personal(&self) -> bool {
        matches!(
            self,
            Self::Relation(_)
                | Self::SessionKnn
                | Self::Repeats
                | Self::TagAffinity
                | Self::TrendingInTags
                | Self::Vector(_)
        )
    }
}

/// A source with its name and its weight in the fusion.
#[derive(Clone, Debug)]
pub struct Weighted {
    /// Which.
    pub source: Source,
    /// Its name.
    pub name: Text,
    /// Weight, above 0.
    pub weight: f64,
}
