//! Segments of users: those whose label has one of a few values, so that their votes are counted apart.

use crate::catalogue::Label;
use crate::config::SegmentsConfig;

/// Which users belong together.
#[derive(Clone, Debug)]
pub struct Segments {
    label: String,
    values: Vec<String>,
}

impl Segments {
    /// The segments of a configuration, numbered in its order; none without values.
    pub fn new(config: &SegmentsConfig) -> Self {
        Self {
            label: config.label.clone(),
            values: config.values.clone(),
        }
    }

    /// Name of a segment.
    pub fn name(&self, segment: u8) -> Option<&str> {
        self.values.get(usize::from(segment)).map(String::as_str)
    }

    /// Segment of a user with these labels: by the text of the label, or by the first configured value among its tags.
    pub fn of(&self, labels: &[(Box<str>, Label)]) -> Option<u8> {
        if self.values.is_empty() {
            return None;
        }
        let (_, label) = labels.iter().find(|(key, _)| **key == *self.label)?;
        let has = |value: &String| match label {
            Label::Text(text) => **text == **value,
            Label::Tags(tags) => tags.iter().any(|tag| **tag == **value),
            Label::Bool(_) | Label::Int(_) | Label::Float(_) => false,
        };
        self.values.iter().position(has).map(|at| at as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_the_segment() {
        let segments = |values: &[&str]| {
            Segments::new(&SegmentsConfig {
                label: "country".into(),
                values: values.iter().map(|v| v.to_string()).collect(),
            })
        };
        let user = |label| vec![("age".into(), Label::Int(3)), ("country".into(), label)];
        let two = segments(&["de", "fr"]);
        assert_eq!(two.of(&user(Label::Text("fr".into()))), Some(1));
        assert_eq!(two.of(&user(Label::Text("fi".into()))), None);
        let tags = |tags: &[&str]| Label::Tags(tags.iter().map(|t| Box::from(*t)).collect());
        assert_eq!(two.of(&user(tags(&["x", "fr", "de"]))), Some(0));
        assert_eq!(two.of(&user(Label::Bool(true))), None);
        assert_eq!(two.of(&[]), None);
        assert_eq!(segments(&[]).of(&user(Label::Text("".into()))), None);
    }
}
