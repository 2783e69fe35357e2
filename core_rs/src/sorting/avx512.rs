//! [`super::sort`] with AVX-512: columns of a matrix are sorted by a network over its rows, then merged two by two; so are the
//! parts of more numbers than a few registers hold.
//!
//! Rows are registers of eight numbers, so that steps within columns are a minimum and a maximum of two rows. Merging (Batcher,
//! AFIPS 1968) looks at one column upwards and at the other downwards; what it compares across columns is swapped first.

use std::arch::x86_64::*;

const WIDTH: usize = 8;
/// So many numbers at most.
pub const MOST: usize = 64 * WIDTH;
/// Below this other ways are as fast.
pub const LEAST: usize = 12;
/// Numbers that stand for all when a bound is looked for.
const SAMPLE: usize = 64;

/// See [`super::sort`]; at most [`MOST`].
#[target_feature(enable = "avx512f")]
pub fn sort(numbers: &mut [u64]) {
    match numbers.len() {
        0..=64 => by_rows::<8>(numbers),
        65..=PART => by_rows::<16>(numbers),
        _ => by_parts(numbers),
    }
}

/// So many numbers are sorted by one network; of larger ones the code alone would fill a core's cache.
const PART: usize = 16 * WIDTH;

/// Sorts parts, then merges them two by two.
#[target_feature(enable = "avx512f")]
fn by_parts(numbers: &mut [u64]) {
    let mut rows = [[u64::MAX; WIDTH]; MOST / WIDTH];
    let room = numbers.len().next_power_of_two();
    let rows = &mut rows[..room / WIDTH];
    rows.as_flattened_mut()[..numbers.len()].copy_from_slice(numbers);
    for part in rows.chunks_mut(PART / WIDTH) {
        by_rows::<{ PART / WIDTH }>(part.as_flattened_mut());
    }
    let mut merged = 2 * PART / WIDTH;
    while merged <= rows.len() {
        rows.chunks_mut(merged).for_each(|pair| merge(pair));
        merged *= 2;
    }
    numbers.copy_from_slice(&rows.as_flattened()[..numbers.len()]);
}

/// Sorts rows, one after the other, whose halves are sorted; their number is a power of two.
#[target_feature(enable = "avx512f")]
fn merge(rows: &mut [[u64; WIDTH]]) {
    let last = rows.len() - 1;
    for a in 0..rows.len() / 2 {
        let (x, y) = (load(&rows[a]), reversed::<8>(load(&rows[last - a])));
        store(&mut rows[a], _mm512_min_epu64(x, y));
        store(&mut rows[last - a], reversed::<8>(_mm512_max_epu64(x, y)));
    }
    let mut step = rows.len() / 4;
    while step > 0 {
        for group in rows.chunks_exact_mut(2 * step) {
            let (lower, upper) = group.split_at_mut(step);
            for (a, b) in lower.iter_mut().zip(upper) {
                let (x, y) = (load(a), load(b));
                store(a, _mm512_min_epu64(x, y));
                store(b, _mm512_max_epu64(x, y));
            }
        }
        step /= 2;
    }
    for row in rows {
        let mut own = [load(row)];
        across::<1, 4>(&mut own);
        across::<1, 2>(&mut own);
        across::<1, 1>(&mut own);
        store(row, own[0]);
    }
}

/// See [`super::keep_smallest`]; there are more than `count`.
#[target_feature(enable = "avx512f")]
pub fn keep_smallest(numbers: &mut Vec<u64>, count: usize, fine: u64) -> u64 {
    // What is sorted at once anyway may stay.
    let enough = (count + count / 4).max(SAMPLE);
    let most = bound(numbers, count, enough, fine);
    let mut kept = 0;
    let all = numbers.as_mut_slice();
    let (bound, whole) = (_mm512_set1_epi64(most as i64), all.len() / WIDTH * WIDTH);
    for at in (0..whole).step_by(WIDTH) {
        // SAFETY: eight numbers from `at` on are there, and from `kept` on too, which is never above `at`.
        unsafe {
            let own = _mm512_loadu_si512(all.as_ptr().add(at).cast());
            let few = _mm512_cmple_epu64_mask(own, bound);
            let together = _mm512_maskz_compress_epi64(few, own);
            _mm512_storeu_si512(all.as_mut_ptr().add(kept).cast(), together);
            kept += few.count_ones() as usize;
        }
    }
    for at in whole..all.len() {
        all[kept] = all[at];
        kept += usize::from(all[at] <= most);
    }
    numbers.truncate(kept);
    most
}

/// A number, all bits of `fine` set, that at least `count` are not above, and no more than `enough` if one is found quickly.
#[inline]
#[target_feature(enable = "avx512f")]
fn bound(numbers: &[u64], count: usize, enough: usize, fine: u64) -> u64 {
    if numbers.len() <= SAMPLE {
        return u64::MAX;
    }
    let mut sample = [0; SAMPLE];
    for (at, own) in sample.iter_mut().enumerate() {
        *own = numbers[at * numbers.len() / SAMPLE] | fine;
    }
    sort(&mut sample);
    let (mut low, mut high, mut known) = (0, SAMPLE, u64::MAX);
    let wanted = count.midpoint(enough);
    let mut at = wanted * SAMPLE / numbers.len();
    while low < high {
        at = at.clamp(low, high - 1);
        let found = up_to(numbers, sample[at]);
        if found < count {
            low = at + 1;
        } else {
            known = sample[at];
            if found <= enough {
                break;
            }
            high = at;
        }
        // The sample stands for all: where it has so many fewer or more, so have they.
        at = (at + wanted * SAMPLE / numbers.len()).saturating_sub(found * SAMPLE / numbers.len());
    }
    known
}

/// How many are not above a number.
#[inline]
#[target_feature(enable = "avx512f")]
fn up_to(numbers: &[u64], most: u64) -> usize {
    let (rows, rest) = numbers.as_chunks::<WIDTH>();
    let (bound, one) = (_mm512_set1_epi64(most as i64), _mm512_set1_epi64(1));
    let mut counts = _mm512_setzero_si512();
    for row in rows {
        let few = _mm512_cmple_epu64_mask(load(row), bound);
        counts = _mm512_mask_add_epi64(counts, few, counts, one);
    }
    let rest = rest.iter().filter(|number| **number <= most).count();
    _mm512_reduce_add_epi64(counts) as usize + rest
}

/// At most R rows.
#[inline(never)]
#[target_feature(enable = "avx512f")]
fn by_rows<const R: usize>(numbers: &mut [u64]) {
    let largest = _mm512_set1_epi64(-1);
    let mut rows = [largest; R];
    let (whole, rest) = numbers.as_chunks::<WIDTH>();
    for (row, numbers) in rows.iter_mut().zip(whole) {
        *row = load(numbers);
    }
    if !rest.is_empty() {
        // SAFETY: only the lanes of numbers that are there are read.
        rows[whole.len()] =
            unsafe { _mm512_mask_loadu_epi64(largest, first(rest.len()), rest.as_ptr().cast()) };
    }
    columns(&mut rows);
    facing::<R, 2>(&mut rows);
    within(&mut rows);
    facing::<R, 4>(&mut rows);
    across::<R, 1>(&mut rows);
    within(&mut rows);
    facing::<R, 8>(&mut rows);
    across::<R, 2>(&mut rows);
    across::<R, 1>(&mut rows);
    within(&mut rows);
    write(&rows, numbers);
}

/// Writes the columns one after the other.
#[inline]
#[target_feature(enable = "avx512f")]
fn write<const R: usize>(rows: &[__m512i; R], numbers: &mut [u64]) {
    let (squares, _) = rows.as_chunks::<WIDTH>();
    for (square, part) in squares.iter().zip(0..) {
        for (column, turned) in turned(square).into_iter().enumerate() {
            let at = column * R + part * WIDTH;
            let left = numbers.len().saturating_sub(at).min(WIDTH);
            if left > 0 {
                // SAFETY: only the lanes that there is room for are written.
                unsafe {
                    let to = numbers.as_mut_ptr().add(at).cast();
                    _mm512_mask_storeu_epi64(to, first(left), turned);
                }
            }
        }
    }
}

/// A bit for each of so many lanes, eight at most.
#[inline]
fn first(lanes: usize) -> u8 {
    (0xff_u32 >> (WIDTH - lanes)) as u8
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(numbers: &[u64; WIDTH]) -> __m512i {
    // SAFETY: eight numbers; no alignment is asked for.
    unsafe { _mm512_loadu_si512(numbers.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(numbers: &mut [u64; WIDTH], row: __m512i) {
    // SAFETY: there is room for eight numbers; no alignment is asked for.
    unsafe { _mm512_storeu_si512(numbers.as_mut_ptr().cast(), row) };
}

/// The smaller numbers of two rows to the first.
#[inline]
#[target_feature(enable = "avx512f")]
fn order<const R: usize>(rows: &mut [__m512i; R], a: usize, b: usize) {
    let (x, y) = (rows[a], rows[b]);
    rows[a] = _mm512_min_epu64(x, y);
    rows[b] = _mm512_max_epu64(x, y);
}

/// Sorts every column: Batcher's merge of odd and even places.
#[inline]
#[target_feature(enable = "avx512f")]
fn columns<const R: usize>(rows: &mut [__m512i; R]) {
    let mut sorted = 1;
    while sorted < R {
        let mut step = sorted;
        while step > 0 {
            let mut start = step % sorted;
            while start + step < R {
                for a in start..(start + step).min(R - step) {
                    if a / (2 * sorted) == (a + step) / (2 * sorted) {
                        order(rows, a, a + step);
                    }
                }
                start += 2 * step;
            }
            step /= 2;
        }
        sorted *= 2;
    }
}

/// Sorts every column whose numbers rise and then fall, or the other way round.
#[inline]
#[target_feature(enable = "avx512f")]
fn within<const R: usize>(rows: &mut [__m512i; R]) {
    let mut step = R / 2;
    while step > 0 {
        for a in 0..R {
            if a & step == 0 {
                order(rows, a, a + step);
            }
        }
        step /= 2;
    }
}

/// Lanes in which the larger of two numbers of neighbouring groups of so many lanes belong.
const fn upper(lanes: usize) -> u8 {
    match lanes {
        1 => 0b1010_1010,
        2 => 0b1100_1100,
        _ => 0b1111_0000,
    }
}

/// Neighbouring groups of 1, 2 or 4 lanes change places.
#[inline]
#[target_feature(enable = "avx512f")]
fn swapped<const LANES: usize>(row: __m512i) -> __m512i {
    match LANES {
        1 => _mm512_shuffle_epi32::<0b01_00_11_10>(row),
        2 => _mm512_permutex_epi64::<0b01_00_11_10>(row),
        _ => _mm512_shuffle_i64x2::<0b01_00_11_10>(row, row),
    }
}

/// Every group of 2, 4 or 8 lanes the other way round.
#[inline]
#[target_feature(enable = "avx512f")]
fn reversed<const LANES: usize>(row: __m512i) -> __m512i {
    match LANES {
        2 => swapped::<1>(row),
        4 => _mm512_permutex_epi64::<0b00_01_10_11>(row),
        _ => swapped::<4>(_mm512_permutex_epi64::<0b00_01_10_11>(row)),
    }
}

/// Compares numbers of the same row, so many columns apart.
#[inline]
#[target_feature(enable = "avx512f")]
fn across<const R: usize, const LANES: usize>(rows: &mut [__m512i; R]) {
    for row in rows {
        let (own, other) = (*row, swapped::<LANES>(*row));
        let smaller = _mm512_min_epu64(own, other);
        *row = _mm512_mask_max_epu64(smaller, upper(LANES), own, other);
    }
}

/// Begins to merge groups of half as many sorted columns: the first of one is compared with the last of the other.
#[inline]
#[target_feature(enable = "avx512f")]
fn facing<const R: usize, const LANES: usize>(rows: &mut [__m512i; R]) {
    for a in 0..R / 2 {
        let b = R - 1 - a;
        let (x, y) = (rows[a], rows[b]);
        for (at, own, other) in [(a, x, y), (b, y, x)] {
            let other = reversed::<LANES>(other);
            let smaller = _mm512_min_epu64(own, other);
            rows[at] = _mm512_mask_max_epu64(smaller, upper(LANES / 2), own, other);
        }
    }
}

/// Rows as columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn turned(rows: &[__m512i; WIDTH]) -> [__m512i; WIDTH] {
    let mut pairs = [rows[0]; WIDTH];
    for i in 0..WIDTH / 2 {
        pairs[2 * i] = _mm512_unpacklo_epi64(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi64(rows[2 * i], rows[2 * i + 1]);
    }
    // Columns 0 and 4, 1 and 5, 2 and 6, 3 and 7, of the upper four rows, then of the lower ones.
    let mut fours = [rows[0]; WIDTH];
    for half in [0, 4] {
        for odd in 0..2 {
            let (x, y) = (pairs[half + odd], pairs[half + odd + 2]);
            fours[half + odd] = _mm512_shuffle_i64x2::<0x88>(x, y);
            fours[half + odd + 2] = _mm512_shuffle_i64x2::<0xdd>(x, y);
        }
    }
    let mut out = [rows[0]; WIDTH];
    for i in 0..WIDTH / 2 {
        out[i] = _mm512_shuffle_i64x2::<0x88>(fours[i], fours[i + 4]);
        out[i + 4] = _mm512_shuffle_i64x2::<0xdd>(fours[i], fours[i + 4]);
    }
    out
}
