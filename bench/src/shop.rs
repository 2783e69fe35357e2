//! A small shop's log: sessions of views and purchases over items whose popularity falls off, as frames in log order.

use headwater_core::config::FoldConfig;
use headwater_core::error::CoreError;
use headwater_core::fold::batch::decode_frames;
use headwater_core::fold::report::Report;
use headwater_core::fold::state::State;
use headwater_core::ids::{Position, owner, stable_hash};
use headwater_core::scenario::QueryConfig;

use crate::random::Random;

const START: i64 = 1_700_000_000_000;
const FRAME_EVENTS: usize = 512;
/// How far an event may be ahead of its frame.
pub const MAX_FUTURE_MS: i64 = 86_400_000;

// type, user, item, ts, value, event id, session, basket: the fields of a feedback event in their order.
type Event = (
    u8,
    String,
    String,
    String,
    i64,
    Option<f64>,
    String,
    String,
    Option<String>,
);

/// The shipped configuration of a shop; a Python test holds the file to it.
pub fn fold_config() -> Result<FoldConfig, CoreError> {
    FoldConfig::from_json(include_bytes!("shop_fold.json"))
}

/// How the shop answers.
pub fn query_config() -> Result<QueryConfig, CoreError> {
    QueryConfig::from_json(include_bytes!("shop_query.json"))
}

/// Frames of so many events, the same in every run.
pub fn frames(events: usize, items: usize, partitions: usize) -> Vec<Vec<u8>> {
    let mut random = Random(1);
    let mut waiting: Vec<Vec<Event>> = vec![Vec::new(); partitions];
    let mut sequences = vec![0; partitions];
    let mut out = Vec::new();
    let mut made = 0;
    while made < events {
        let visit = made;
        let user = format!("u{}", random.below(events / 20 + 1));
        let partition = owner(stable_hash(user.as_bytes()), partitions);
        for step in 0..2 + random.below(8) {
            // The square of an even draw: a tenth of the items has a third of the events.
            let place = f64::from(random.unit()).abs();
            let item = format!("i{}", (place * place * items as f64) as usize);
            let ts = START + made as i64 * 1000 + step as i64 * 6000;
            let buys = random.below(10) == 0;
            waiting[partition].push((
                1,
                if buys { "purchase" } else { "view" }.to_string(),
                user.clone(),
                item,
                ts,
                None,
                format!("e{made}"),
                format!("s{visit}"),
                buys.then(|| format!("b{visit}")),
            ));
            made += 1;
        }
        if waiting[partition].len() >= FRAME_EVENTS {
            let events = std::mem::take(&mut waiting[partition]);
            sequences[partition] += 1;
            out.push(frame(partition as u16, sequences[partition], &events));
        }
    }
    for (partition, events) in waiting.iter().enumerate().filter(|(_, e)| !e.is_empty()) {
        out.push(frame(partition as u16, sequences[partition] + 1, events));
    }
    out
}

fn frame(partition: u16, sequence: u64, events: &[Event]) -> Vec<u8> {
    let body = rmp_serde::to_vec(events).unwrap_or_default();
    let appended = events.iter().map(|event| event.4).max().unwrap_or(START);
    seal(0, partition, sequence, appended, events.len() as u32, &body)
}

/// A frame around a body, with a checksum that fits: what a fuzzer needs to get past the header.
pub fn seal(
    kind: u8,
    partition: u16,
    sequence: u64,
    appended: i64,
    count: u32,
    body: &[u8],
) -> Vec<u8> {
    let mut head = Vec::with_capacity(52 + body.len());
    head.extend_from_slice(b"HWF");
    head.extend_from_slice(&[1, kind, 0]);
    head.extend_from_slice(&partition.to_le_bytes());
    head.extend_from_slice(&7u64.to_le_bytes());
    head.extend_from_slice(&1u64.to_le_bytes());
    head.extend_from_slice(&sequence.to_le_bytes());
    head.extend_from_slice(&appended.to_le_bytes());
    head.extend_from_slice(&count.to_le_bytes());
    head.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head), body);
    head.extend_from_slice(&crc.to_le_bytes());
    head.extend_from_slice(body);
    head
}

/// The state that frames fold to.
pub fn fold(config: &FoldConfig, frames: &[Vec<u8>]) -> Result<State, CoreError> {
    let mut state = State::new(config)?;
    let bytes: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let batch = decode_frames(Position(1), &bytes, MAX_FUTURE_MS, None);
    let mut report = Report::default();
    let mut rest = batch.as_slice();
    while !rest.is_empty() {
        let taken = state.apply_some(rest, None, &mut report)?;
        rest = &rest[taken..];
    }
    Ok(state)
}
