//! Fuzzes the decoding of frames and snapshots on stable Rust: `cargo run --release -p headwater-bench --bin fuzz --
//! [seconds] [seed]`. Ends with 101 and the seed of the round on the first panic.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use headwater_bench::mutation::{try_frame, try_snapshot};
use headwater_bench::random::Random;
use headwater_bench::shop;
use headwater_core::fold::parts;

const GENERATION: u128 = 1;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<u64>());
    let (Ok(seconds), Ok(seed)) = (
        arguments.next().unwrap_or(Ok(30)),
        arguments.next().unwrap_or(Ok(1)),
    ) else {
        eprintln!("usage: fuzz [seconds] [seed]");
        return ExitCode::from(2);
    };
    match run(Duration::from_secs(seconds), seed) {
        Ok(rounds) => {
            println!("{rounds} rounds without a finding");
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("error: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run(time: Duration, seed: u64) -> Result<u64, headwater_core::error::CoreError> {
    let mut config = shop::fold_config()?;
    (config.partitions, config.shards) = (2, 2);
    let frames = shop::frames(4_000, 300, config.partitions);
    let state = shop::fold(&config, &frames)?;
    let snapshot = parts::snapshot(&state, None).seal(GENERATION, None)?;
    let (started, mut round) = (Instant::now(), seed);
    while started.elapsed() < time {
        let outcome = std::panic::catch_unwind(|| {
            let mut random = Random(round);
            for _ in 0..200 {
                let frame = random.below(frames.len());
                try_frame(&mut random, &frames[frame]);
            }
            try_snapshot(&mut random, &config, GENERATION, &snapshot);
        });
        if outcome.is_err() {
            eprintln!("a finding in round {round}: fuzz 1 {round}");
            std::process::exit(101);
        }
        round += 1;
    }
    Ok(round - seed)
}
