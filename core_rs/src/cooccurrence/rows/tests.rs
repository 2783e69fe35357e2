use super::*;
use crate::names::Names;
use proptest::prelude::*;

fn setup(items: usize, capacity: usize) -> (Names, RowStore) {
    let mut names = Names::new(1);
    for i in 0..items {
        names.items.intern_str(&format!("i{i}"));
    }
    let mut rows = RowStore::new(capacity);
    rows.ensure(items);
    (names, rows)
}

impl RowStore {
    fn add(&mut self, draw: &Draw, names: &Names) {
        self.add_all(std::iter::once(std::slice::from_ref(draw)), names);
    }
}

fn draw(seed: u32, target: u32, weight: u16, epoch: u32) -> Draw {
    Draw {
        seed: ItemIx(seed),
        target: ItemIx(target),
        weight,
        epoch,
    }
}

#[test]
fn wide_rows_keep_counts_and_evict() {
    let (names, mut rows) = setup(400, 200);
    for round in 1..=2u32 {
        for target in 1..=200 {
            rows.add(&draw(0, target, target as u16, 0), &names);
        }
        let (_, row) = rows.row(ItemIx(0));
        assert!(row.into_iter().all(|n| n.count == n.item.0 * round));
    }
    for _ in 0..2 {
        rows.add(&draw(0, 399, 5, 0), &names);
    }
    assert!(rows.pair(ItemIx(0), ItemIx(1)).is_none());
    let (_, newcomer) = rows.pair(ItemIx(0), ItemIx(399)).unwrap();
    assert_eq!((newcomer.count, newcomer.error), (7, 2));
    assert_eq!(rows.row(ItemIx(0)).1.count(), 200);
}

#[test]
fn rows_grow_through_their_classes_and_keep_counts() {
    let (names, mut rows) = setup(100, 40);
    for round in 1..=3u32 {
        for target in 1..=40 {
            rows.add(&draw(0, target, target as u16, 0), &names);
        }
        let (_, row) = rows.row(ItemIx(0));
        let row: Vec<Neighbour> = row.collect();
        assert_eq!(row.len(), 40);
        assert!(
            row.iter()
                .all(|n| n.count == n.item.0 * round && n.error == 0)
        );
    }
    assert_eq!(rows.size().1, 40);
}

#[test]
fn a_full_row_admits_on_the_second_hit_only() {
    let (names, mut rows) = setup(100, 4);
    for target in 1..=4 {
        rows.add(&draw(0, target, 100 * target as u16, 0), &names);
    }
    rows.add(&draw(0, 9, 50, 0), &names);
    assert!(rows.pair(ItemIx(0), ItemIx(9)).is_none());
    rows.add(&draw(0, 9, 50, 0), &names);
    let (_, neighbour) = rows.pair(ItemIx(0), ItemIx(9)).unwrap();
    assert_eq!((neighbour.count, neighbour.error), (150, 100));
    assert!(rows.pair(ItemIx(0), ItemIx(1)).is_none());
}

#[test]
fn counts_halve_by_epochs_when_touched() {
    let (names, mut rows) = setup(4, 4);
    rows.add(&draw(0, 1, 256, 0), &names);
    rows.add(&draw(0, 2, 256, 1), &names);
    assert_eq!(rows.pair(ItemIx(0), ItemIx(1)).unwrap().1.count, 16);
    rows.add(&draw(0, 2, 1, 40), &names);
    assert_eq!(rows.pair(ItemIx(0), ItemIx(1)).unwrap().1.count, 0);
    assert_eq!(rows.pair(ItemIx(0), ItemIx(2)).unwrap().1.count, 1);
}

fn written(rows: &RowStore, names: &Names) -> Vec<u8> {
    let mut writer = PartWriter::snapshot(names);
    rows.write(0, &mut writer);
    writer.finish_snapshot()
}

fn read_back(bytes: &[u8], names: &mut Names, limit: usize) -> ReadResult<RowStore> {
    let mut rows = RowStore::new(40);
    rows.limit = limit;
    let mut reader = PartReader::new("test", bytes, names)?;
    while let Some(kind) = reader.next_entity()? {
        reader.byte()?;
        rows.read(kind, &mut reader)?;
    }
    Ok(rows)
}

proptest! {
    /// Near the end of memory: no block beyond it, and the same draws are refused however slices are put together
    /// and wherever the rows were written and read back.
    #[test]
    fn what_has_no_room_is_refused_alike(
        drawn in prop::collection::vec(prop::collection::vec((0u32..60, 0u32..60), 0..12), 1..120),
        cuts in prop::collection::vec(1usize..9, 1..40),
        limit in 60usize..9000,
    ) {
        let frames: Vec<Vec<Draw>> = drawn
            .iter()
            .map(|frame| frame.iter().map(|(s, t)| draw(*s, *t, 9, 0)).collect())
            .collect();
        let (mut names, mut one) = setup(60, 40);
        one.limit = limit;
        let refused: u64 = frames
            .iter()
            .map(|frame| one.add_all(std::iter::once(frame.as_slice()), &names))
            .sum();
        prop_assert!(one.arena.len() <= one.reserved && one.reserved <= limit);
        let (_, mut other) = setup(60, 40);
        other.limit = limit;
        let (mut rest, mut again, mut cuts) = (frames.as_slice(), 0, cuts.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            again += other.add_all(now.iter().map(Vec::as_slice), &names);
            rest = later;
            let bytes = written(&other, &names);
            let reserved = other.reserved;
            other = read_back(&bytes, &mut names, limit).unwrap();
            other.ensure(60);
            prop_assert_eq!(other.reserved, reserved);
        }
        prop_assert_eq!(again, refused);
        for seed in (0..60).map(ItemIx) {
            prop_assert_eq!(one.slots(seed).1, other.slots(seed).1);
        }
        if one.rows > 0 {
            let short = one.reserved - 1;
            prop_assert!(read_back(&written(&one, &names), &mut names, short).is_err());
        }
    }
}

/// Whatever the CPU's path: rows that count in registers hold what rows hold that look at one draw after the other.
#[test]
fn every_path_counts_alike() {
    for capacity in [5, 8, 20, 40, 41, 48, 60] {
        let (names, mut fast) = setup(150, capacity);
        let (_, mut plain) = setup(150, capacity);
        let mut random = 11u64;
        let mut below = |n: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            ((random >> 33) % n) as u32
        };
        for batch in 0..60u32 {
            let draws: Vec<Draw> = (0..2500)
                .map(|_| {
                    // Small numbers are frequent: rows find much, and turn away the rest.
                    let target = (below(150) * below(150)) / 150;
                    let weight = [0, 1, 300, 8192][below(4) as usize];
                    draw(
                        below(4),
                        target,
                        weight,
                        batch / 20 + below(1 + u64::from(batch == 30)),
                    )
                })
                .collect();
            fast.add_all(draws.chunks(700), &names);
            plain.chains.fill(draws.chunks(700), 150);
            let chains = std::mem::take(&mut plain.chains);
            plain.count_runs(&chains, &names, InGroups);
            assert_eq!(fast.directory, plain.directory);
            assert_eq!(fast.arena, plain.arena, "{capacity} slots, batch {batch}");
            if batch == 40 {
                for rows in [&mut fast, &mut plain] {
                    let (at, (_, layout)) = (
                        rows.directory[1] as usize,
                        rows.head(rows.directory[1] as usize),
                    );
                    rows.arena[at + layout.pairs + 1] = u32::MAX - 5000;
                }
            }
        }
        assert_eq!(fast.pairs, plain.pairs);
        let (_, row) = fast.row(ItemIx(1));
        assert_eq!(
            row.map(|n| n.count).max(),
            Some(u32::MAX),
            "nothing overflows"
        );
    }
}
