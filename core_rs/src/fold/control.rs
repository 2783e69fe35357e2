//! Control: which query configuration is active, the log's running time, and how many events had which outcome.

use std::collections::BTreeMap;

use crate::admission::frames::{FrameLedger, FrameVerdict};
use crate::fold::report::Counts;
use crate::frame::header::{Frame, Subject};
use crate::ids::Millis;
use crate::scenario::QueryConfig;
use crate::snapshot::codec::{PartReader, PartWriter, ReadResult};

/// State that belongs to no user and no item.
#[derive(Debug, Default)]
pub struct Control {
    /// Largest event time so far.
    pub clock: Millis,
    version: String,
    body: String,
    query: Option<QueryConfig>,
    catalogue_frames: FrameLedger,
    control_frames: FrameLedger,
    outcomes: BTreeMap<String, u64>,
}

const KIND_ACTIVE: u8 = 1;
const KIND_OUTCOME: u8 = 2;
const KIND_CATALOGUE_FRAMES: u8 = 3;
const KIND_CONTROL_FRAMES: u8 = 4;

impl Control {
    /// Whether a frame of the catalogue or of control counts: a late retry must not undo what came after it.
    pub fn admit(&mut self, frame: &Frame<'_>) -> FrameVerdict {
        let ledger = if frame.subject == Subject::Catalogue {
            &mut self.catalogue_frames
        } else {
            &mut self.control_frames
        };
        ledger.admit(frame.producer, frame.epoch, frame.sequence)
    }

    /// Makes a query configuration the active one.
    pub fn activate(&mut self, version: &str, body: &str, query: QueryConfig) {
        self.version = version.to_string();
        self.body = body.to_string();
        self.query = Some(query);
    }

    /// Version and content of the active query configuration; `None` before the first activation.
    pub fn active(&self) -> Option<(&str, &QueryConfig)> {
        self.query
            .as_ref()
            .map(|query| (self.version.as_str(), query))
    }

    /// Adds to the counts by outcome.
    pub fn count(&mut self, counts: &Counts) {
        for (outcome, times) in counts.iter() {
            match self.outcomes.get_mut(outcome) {
                Some(sum) => *sum += times,
                None => {
                    self.outcomes.insert(outcome.to_string(), times);
                }
            }
        }
    }

    /// Counts by outcome since the first frame.
    pub fn outcomes(&self) -> &BTreeMap<String, u64> {
        &self.outcomes
    }

    /// Writes everything.
    pub fn write(&self, w: &mut PartWriter<'_>) {
        w.entity(KIND_ACTIVE, |w| {
            w.int(self.clock);
            w.text(&self.version);
            w.text(&self.body);
        });
        self.catalogue_frames.write(KIND_CATALOGUE_FRAMES, w);
        self.control_frames.write(KIND_CONTROL_FRAMES, w);
        for (outcome, times) in &self.outcomes {
            w.entity(KIND_OUTCOME, |w| {
                w.text(outcome);
                w.uint(*times);
            });
        }
    }

    /// Writes what a session host knows of it: the active configuration and which frames were received. Running time and
    /// outcomes are the whole log's, which such a host does not read.
    pub fn write_activation(&self, w: &mut PartWriter<'_>) {
        w.entity(KIND_ACTIVE, |w| {
            w.int(0);
            w.text(&self.version);
            w.text(&self.body);
        });
        self.catalogue_frames.write(KIND_CATALOGUE_FRAMES, w);
        self.control_frames.write(KIND_CONTROL_FRAMES, w);
    }

    /// Reads what [`Control::write`] or [`Control::write_activation`] wrote.
    pub fn read(&mut self, r: &mut PartReader<'_>) -> ReadResult<()> {
        while let Some(kind) = r.next_entity()? {
            match kind {
                KIND_ACTIVE => {
                    self.clock = r.int()?;
                    let (version, body) = (r.text()?, r.text()?);
                    if !body.is_empty() {
                        let query = QueryConfig::from_json(body.as_bytes())
                            .map_err(|err| r.broken(err.to_string()))?;
                        self.activate(version, body, query);
                    }
                }
                KIND_CATALOGUE_FRAMES => self.catalogue_frames.read(r)?,
                KIND_CONTROL_FRAMES => self.control_frames.read(r)?,
                KIND_OUTCOME => {
                    let outcome = r.text()?.to_string();
                    self.outcomes.insert(outcome, r.uint()?);
                }
                _ => return Err(r.broken(format!("unknown entity {kind}"))),
            }
        }
        Ok(())
    }
}
