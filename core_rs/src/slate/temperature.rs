//! The temperature at which a softmax costs what may be spent.

/// The range: below, only ties at the top are drawn; above, all candidates alike.
const RANGE: (f64, f64) = (1e-4, 1e3);
const MOST_STEPS: usize = 40;
const TOLERANCE: f64 = 1e-4;

/// The temperature T at which the softmax over a default, which is worth the most and costs nothing, and `others`, each
/// with its worth below the most (never positive) and its cost, has the expected cost `wanted`, to 1e-4 of it; the end
/// of the range where none has. Newton's method on the logarithms, kept in a bracket. O(N) a step, about 5 steps.
pub fn temperature(others: &[(f64, f64)], wanted: f64) -> f64 {
    let (mut low, mut high) = (libm::log(RANGE.0), libm::log(RANGE.1));
    // Most scales are worth a tenth at their top.
    let mut at = libm::log(0.05);
    for _ in 0..MOST_STEPS {
        let (ratio, slope) = expected_cost(others, libm::exp(at), wanted);
        if (ratio - 1.0).abs() <= TOLERANCE {
            break;
        }
        if ratio > 1.0 {
            high = at;
        } else {
            low = at;
        }
        let next = at - libm::log(ratio) / slope;
        at = if next > low && next < high {
            next
        } else {
            0.5 * (low + high)
        };
        if high - low < TOLERANCE {
            break;
        }
    }
    libm::exp(at)
}

/// Expected cost over the one wanted, and how its logarithm grows with that of T.
fn expected_cost(others: &[(f64, f64)], temperature: f64, wanted: f64) -> (f64, f64) {
    let (mut total, mut total_slope) = (1.0, 0.0);
    let (mut cost, mut cost_slope) = (0.0, 0.0);
    for (below, price) in others {
        let scaled = below / temperature;
        let weight = libm::exp(scaled);
        let slope = -scaled * weight;
        total += weight;
        total_slope += slope;
        cost += price * weight;
        cost_slope += price * slope;
    }
    let ratio = cost / total / wanted;
    (ratio, cost_slope / cost - total_slope / total)
}
