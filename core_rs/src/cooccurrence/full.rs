//! Full rows, counted with AVX-512: a row's pairs stay in registers for a whole run of draws.
//!
//! Whether a draw is in the row cannot be foreseen, and waiting for a wrong guess costs more than the draw does. So both
//! ways are taken for every draw, without a branch: the count grows by the weight where the item is, and the door changes
//! if it is nowhere. Only what is rare is branched to: a newcomer's second hit and another epoch.

use std::arch::x86_64::{
    __m512i, __mmask8, _mm512_cmpge_epu64_mask, _mm512_mask_add_epi64, _mm512_mask_storeu_epi64,
    _mm512_mask_testn_epi64_mask, _mm512_maskz_loadu_epi64, _mm512_set1_epi64, _mm512_xor_si512,
};

use crate::cooccurrence::block::{Door, InGroups};
use crate::cooccurrence::draws::{Draw, Run};
use crate::cooccurrence::row::Row;
use crate::names::ItemHashes;

/// Slots of a line.
pub(super) const SLOTS: usize = 8;
/// Most lines of pairs that are held in registers.
pub(super) const MAX_LINES: usize = 6;
/// Draws between two looks at how large the counts have become.
const DRAWS: usize = 1024;

/// Which slots of line `line` a row of so many slots has.
#[inline(always)]
fn inside(slots: usize, line: usize) -> __mmask8 {
    match slots - line * SLOTS {
        left @ 0..SLOTS => (1 << left) - 1,
        _ => __mmask8::MAX,
    }
}

/// Counts the draws of a run, or up to a thousand of them; whether it did any. The row must be full. Panics unless its pairs
/// fill `LINES` lines, the last of them at least in part. A row with a count that the draws could make overflow is left alone.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn count<const LINES: usize>(
    row: &mut Row<'_>,
    run: &mut Run<'_>,
    names: &impl ItemHashes,
) -> bool {
    // What is read and written below lies in the row because of this.
    assert_eq!(row.slots().div_ceil(SLOTS), LINES);
    let large = _mm512_set1_epi64(((1 << 32) - DRAWS as i64 * (1 << 16)) << 32);
    let mut lines = load::<LINES>(row);
    if lines
        .iter()
        .any(|line| _mm512_cmpge_epu64_mask(*line, large) != 0)
    {
        return false;
    }
    let (mut door, mut epoch) = (row.door(), row.epoch());
    let low = _mm512_set1_epi64(0xffff_ffff);
    for _ in 0..DRAWS {
        let Some(draw) = run.peek() else { break };
        let Draw { target, weight, .. } = *draw;
        let slot = _mm512_set1_epi64(i64::from(target.0));
        let more = _mm512_set1_epi64(i64::from(weight) << 32);
        let mut found = 0;
        let mut counted = lines;
        for (l, line) in counted.iter_mut().enumerate() {
            let unlike = _mm512_xor_si512(*line, slot);
            let here = _mm512_mask_testn_epi64_mask(inside(row.slots(), l), unlike, low);
            *line = _mm512_mask_add_epi64(*line, here, *line, more);
            found |= here;
        }
        let (known, asked) = door.first_hit(names.item_hash(target));
        let newcomer = (found == 0) & (weight > 0);
        if (newcomer & (known != 0)) | (draw.epoch > epoch) {
            store(row, &lines);
            row.set_door(door);
            row.count_one(draw, names, InGroups);
            lines = load::<LINES>(row);
            (door, epoch) = (row.door(), row.epoch());
        } else {
            lines = counted;
            let taken = u64::from(newcomer).wrapping_neg();
            door = Door(door.0 & !taken | asked.0 & taken);
        }
        run.step();
    }
    store(row, &lines);
    row.set_door(door);
    true
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn load<const LINES: usize>(row: &Row<'_>) -> [__m512i; LINES] {
    let slots = row.slots();
    std::array::from_fn(|line| {
        // SAFETY: as `count` made sure, each line begins inside the row; only the slots that it has are read.
        unsafe {
            _mm512_maskz_loadu_epi64(
                inside(slots, line),
                row.pairs().as_ptr().add(line * SLOTS).cast(),
            )
        }
    })
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
fn store<const LINES: usize>(row: &mut Row<'_>, lines: &[__m512i; LINES]) {
    let slots = row.slots();
    for (line, pairs) in lines.iter().enumerate() {
        // SAFETY: as in `load`; only the slots that the row has are written.
        unsafe {
            let start = row.pairs_mut().as_mut_ptr().add(line * SLOTS);
            _mm512_mask_storeu_epi64(start.cast(), inside(slots, line), *pairs);
        }
    }
}
