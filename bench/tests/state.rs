//! State that no other test sees from outside: as the log says, and equal after a snapshot was read back.

use headwater_bench::shop::{self, seal};
use headwater_core::config::FoldConfig;
use headwater_core::fold::parts;
use headwater_core::fold::state::State;
use headwater_core::ids::{ItemIx, owner, stable_hash};
use serde::Serialize;
use std::collections::BTreeMap;

const DAY: i64 = 86_400_000;
const START: i64 = 19_000 * DAY;

fn config() -> FoldConfig {
    let mut config = shop::fold_config().unwrap();
    (config.partitions, config.shards) = (2, 2);
    config.fresh_days = 10.0;
    config
}

/// One frame for each event.
#[derive(Default)]
struct Log {
    frames: Vec<Vec<u8>>,
}

impl Log {
    fn push(&mut self, kind: u8, partition: usize, event: &impl Serialize) {
        let mut body = vec![0x91];
        body.extend(rmp_serde::to_vec(event).unwrap());
        let sequence = self.frames.len() as u64 + 1;
        let frame = seal(
            kind,
            partition as u16,
            sequence,
            START + 1000 * DAY,
            1,
            &body,
        );
        self.frames.push(frame);
    }

    fn of_user(&mut self, user: &str, event: &impl Serialize) {
        self.push(0, owner(stable_hash(user.as_bytes()), 2), event);
    }

    fn view(&mut self, user: &str, item: &str, ts: i64) {
        self.of_user(user, &(1, "view", user, item, ts));
    }

    /// A put: hidden or not, with its own time or not.
    fn put(&mut self, item: &str, ts: i64, hidden: bool, born: Option<i64>) {
        self.push(1, 0, &(10, item, ts, [(); 0], (), hidden, born));
    }

    fn slate(&mut self, partition: usize, user: &str, items: &[&str]) {
        let slots: Vec<(&str, f64)> = items.iter().map(|item| (*item, 0.5)).collect();
        let unread = ((), (), (), (), (), (), ());
        let (a, b, c, d, e, f, g) = unread;
        self.push(
            0,
            partition,
            &(20, "s", user, START, a, b, c, d, e, f, g, slots),
        );
    }
}

/// Folds the log; the state, and the one that is read back from its snapshot.
fn both(config: &FoldConfig, log: &Log) -> [State; 2] {
    let state = shop::fold(config, &log.frames).unwrap();
    let files = parts::snapshot(&state, None).seal(1, None).unwrap();
    let files: Vec<_> = files
        .iter()
        .map(|(name, file)| (name.clone(), file.as_slice()))
        .collect();
    let restored = parts::restore(config, 1, &files).unwrap();
    assert_eq!(
        parts::digests(&state, None),
        parts::digests(&restored, None)
    );
    [state, restored]
}

fn names(state: &State, items: impl Iterator<Item = ItemIx>) -> Vec<String> {
    items
        .map(|item| state.names.item(item).to_string())
        .collect()
}

#[test]
fn fresh_items_follow_the_catalogue_and_the_running_time() {
    let mut log = Log::default();
    log.put("a", START, false, None);
    log.put("old", START + DAY, false, Some(START - 20 * DAY));
    log.put("b", START + 2 * DAY, false, Some(START + DAY));
    log.put("hidden", START + 3 * DAY, true, None);
    log.put("gone", START + 3 * DAY, false, None);
    log.put("c", START + 4 * DAY, false, None);
    log.view("u", "only-viewed", START + 4 * DAY);
    log.push(1, 0, &(12, "gone", START + 5 * DAY));
    log.put("a", START + 6 * DAY, false, None);
    let all = |state: &State| {
        names(
            state,
            state.fresh.newest_first(i64::MIN, i64::MAX).map(|f| f.0),
        )
    };
    for state in both(&config(), &log) {
        assert_eq!(all(&state), ["c", "b", "a"]);
        let since = state.fresh.newest_first(START + DAY, START + 3 * DAY);
        assert_eq!(names(&state, since.map(|f| f.0)), ["b"]);
    }
    log.view("u", "a", START + 11 * DAY);
    log.push(1, 0, &(12, "a", START + 11 * DAY));
    log.put("a", START + 11 * DAY, false, None);
    for state in both(&config(), &log) {
        assert_eq!(
            all(&state),
            ["a", "c", "b"],
            "b is ten days old, a was born anew"
        );
    }
    log.view("u", "a", START + 11 * DAY + 1);
    for state in both(&config(), &log) {
        assert_eq!(all(&state), ["a", "c"]);
        let born = |item| state.catalogue.born(state.names.find_item(item).unwrap());
        assert_eq!(born("b"), Some(START + DAY), "no longer fresh, still born");
        assert_eq!(
            [born("hidden"), born("gone"), born("only-viewed")],
            [None; 3]
        );
    }
}

#[test]
fn items_of_slates_are_counted_in_their_shards() {
    let mut log = Log::default();
    log.view("u", "a", START);
    let own = owner(stable_hash(b"u"), 2);
    log.slate(own, "u", &["a", "b", "a"]);
    log.slate(own, "u", &[]);
    log.slate(own, "u", &["b", "shown-only"]);
    log.slate(1 - own, "u", &["a", "of another partition"]);
    for state in both(&config(), &log) {
        let served = |item| {
            let (shard, local) = state.owner(state.names.find_item(item).unwrap());
            state.shards[shard].served(local)
        };
        assert_eq!(["a", "b", "shown-only"].map(served), [2, 2, 1]);
        assert!(state.names.find_item("of another partition").is_none());
        let outcomes = state.control.outcomes();
        assert_eq!((outcomes["recorded"], outcomes["wrong-subject"]), (3, 1));
    }
}

#[test]
fn votes_of_a_segment_count_for_it_as_all_votes_count_overall() {
    let mut config = config();
    config.segments.label = "country".into();
    config.segments.values = ["de", "fr", "fi"].map(String::from).to_vec();
    let user_put = |log: &mut Log, user: &str, country: &str| {
        log.of_user(
            user,
            &(13, user, START, BTreeMap::from([("country", country)])),
        );
    };
    // Users of two segments in one log, those of one of them alone in the other. The last is theirs: the running time is
    // the same when items are hidden and shown again.
    let (mut log, mut only_fr) = (Log::default(), Log::default());
    for u in 0..41 {
        let user = format!("u{u}");
        let country = if u % 2 == 0 { "fr" } else { "de" };
        user_put(&mut log, &user, country);
        for n in 0..60 {
            let item = format!("i{}", (u * 7 + n * n) % 300);
            let ts = START + (u * 60 + n) * 600_000;
            log.view(&user, &item, ts);
            if u % 2 == 0 {
                only_fr.view(&user, &item, ts);
            }
        }
    }
    for log in [&mut log, &mut only_fr] {
        for item in 0..60 {
            log.put(&format!("i{item}"), START + 20 * DAY, true, None);
        }
        for item in 0..30 {
            log.put(&format!("i{item}"), START + 21 * DAY, false, None);
        }
    }
    let alone = shop::fold(&config, &only_fr.frames).unwrap();
    for state in both(&config, &log) {
        for (s, shard) in state.shards.iter().enumerate() {
            let other = &alone.shards[s];
            let sorted = |state: &State, leaders: Vec<(ItemIx, u64)>| {
                let mut named: Vec<_> = leaders
                    .into_iter()
                    .map(|(item, votes)| (state.names.item(item).to_string(), votes))
                    .collect();
                named.sort();
                named
            };
            let popular = shard.popular_in(1).map(|(i, s)| (i, s.votes)).collect();
            let expected = other.popular().map(|(i, s)| (i, s.votes)).collect();
            assert_eq!(sorted(&state, popular), sorted(&alone, expected));
            let trending: Vec<_> = shard.trending_in(1).map(|(i, s)| (i, s.votes)).collect();
            let expected = other.trending().map(|(i, s)| (i, s.votes)).collect();
            assert!(trending.len() > 10);
            assert_eq!(sorted(&state, trending), sorted(&alone, expected));
            assert_eq!(shard.popular_in(2).count() + shard.popular_in(9).count(), 0);
        }
        let votes = |item| {
            let (shard, local) = state.owner(state.names.find_item(item).unwrap());
            let of = |segment| {
                state.shards[shard]
                    .stats_in(segment, local)
                    .map(|s| s.votes)
            };
            (state.shards[shard].stats(local).votes, of(0), of(1), of(2))
        };
        let (all, de, fr, fi) = votes("i7");
        assert_eq!((Some(all), fi), (de.zip(fr).map(|(a, b)| a + b), None));
        let segment = |user| {
            let (partition, ix) = state.names.find_user(user).unwrap();
            state.partitions[partition].user(ix).unwrap().segment
        };
        assert_eq!([segment("u0"), segment("u1")], [Some(1), Some(0)]);
    }
}

#[test]
fn without_segments_labels_change_no_count() {
    let mut log = Log::default();
    log.of_user("u", &(13, "u", START, BTreeMap::from([("country", "de")])));
    log.view("u", "a", START);
    for state in both(&config(), &log) {
        assert!(
            state
                .shards
                .iter()
                .all(|shard| shard.stats_in(0, 0).is_none())
        );
    }
}

#[test]
fn vectors_follow_the_catalogue() {
    fn put(log: &mut Log, item: &str, embeddings: &[(&str, &[f32])]) {
        let vectors: BTreeMap<&str, Bytes> = embeddings
            .iter()
            .map(|(name, values)| {
                (
                    *name,
                    Bytes(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
                )
            })
            .collect();
        log.push(
            1,
            0,
            &(10, item, START, [(); 0], (), false, (), (), vectors),
        );
    }
    let mut log = Log::default();
    log.view("u", "no-vector", START);
    put(
        &mut log,
        "a",
        &[("text", &[1.0, -1.0, 0.5]), ("image", &[2.0])],
    );
    put(&mut log, "b", &[("text", &[0.0, 0.0, 3.0])]);
    put(&mut log, "c", &[("text", &[1.0, 1.0])]);
    put(&mut log, "gone", &[("text", &[1.0, 1.0, 1.0])]);
    log.push(1, 0, &(12, "gone", START));
    put(&mut log, "a", &[("text", &[4.0, -2.0, 0.0])]);
    log.push(1, 0, &(11, "b", START, (), (), true));
    for state in both(&config(), &log) {
        let text = state.vectors.get("text").unwrap();
        let vector = |item| {
            let ix = state.names.find_item(item).unwrap();
            let mut codes = [0i8; 3];
            let scale = text.store.get(ix.0 as usize, &mut codes);
            (text.has(ix), codes, scale)
        };
        assert_eq!(vector("a"), (true, [127, -64, 0], 4.0 / 127.0));
        assert_eq!(
            vector("b"),
            (true, [0, 0, 127], 3.0 / 127.0),
            "hidden, with its vector"
        );
        assert!(state.names.find_item("c").is_none(), "another dimension");
        assert!(state.names.find_item("gone").is_none_or(|ix| !text.has(ix)));
        assert_eq!((text.dim, text.present.count()), (3, 2));
        let image = state.vectors.get("image").unwrap();
        assert_eq!((image.dim, !image.present.any()), (1, true));
        assert_eq!(state.control.outcomes()["wrong-dimension"], 1);
    }
}

/// Serialises as MessagePack's binary.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}
