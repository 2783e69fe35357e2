//! Which instruction set the kernels run on. Every path gives the same bits; the choice is one of speed only.
//!
//! A [`Simd`] exists only for a path that this CPU has, so holding one is the proof that the `unsafe` entry points of
//! the kernels ask for. Nothing here reads the environment: whoever starts the process decides once, with
//! [`Simd::choose`]; kernels take the token as an argument, or ask [`Simd::chosen`] where they stand too deep for one.

use std::sync::OnceLock;

use crate::error::CoreError;

/// The paths, from the slowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Path {
    Portable,
    Avx2,
    Avx512,
}

/// A path that this CPU can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Simd(Path);

static CHOSEN: OnceLock<Simd> = OnceLock::new();

/// What [`Simd::named`] accepts.
pub const NAMES: [&str; 4] = ["auto", "avx512", "avx2", "portable"];

impl Simd {
    /// Plain Rust, on every CPU.
    pub const PORTABLE: Self = Self(Path::Portable);

    /// The fastest path of this CPU.
    pub fn best() -> Self {
        Self::available().last().copied().unwrap_or(Self::PORTABLE)
    }

    /// Makes this the path of the process, unless one was chosen or used before; returns the path of the process.
    pub fn choose(self) -> Self {
        *CHOSEN.get_or_init(|| self)
    }

    /// The path of the process: the chosen one, else from now on the fastest.
    #[inline]
    pub fn chosen() -> Self {
        *CHOSEN.get_or_init(Self::best)
    }

    /// Every path of this CPU, from the slowest.
    pub fn available() -> Vec<Self> {
        [Path::Portable, Path::Avx2, Path::Avx512]
            .into_iter()
            .filter(|path| has(*path))
            .map(Self)
            .collect()
    }

    /// The path of that name; `auto` is the fastest. Refuses unknown names and paths that this CPU lacks.
    pub fn named(name: &str) -> Result<Self, CoreError> {
        let path = match name {
            "auto" => return Ok(Self::best()),
            "portable" => Path::Portable,
            "avx2" => Path::Avx2,
            "avx512" => Path::Avx512,
            _ => return Err(refusal(format!("{name:?}; allowed: {}", NAMES.join(", ")))),
        };
        if !has(path) {
            let has: Vec<&str> = Self::available().iter().map(|simd| simd.name()).collect();
            let rule = format!("{name}: this CPU lacks it; it has {}", has.join(", "));
            return Err(refusal(rule));
        }
        Ok(Self(path))
    }

    /// `avx512` (with VNNI), `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Path::Portable => "portable",
            Path::Avx2 => "avx2",
            Path::Avx512 => "avx512",
        }
    }

    /// Whether AVX-512 F, BW, DQ, VL and VNNI may be used.
    #[inline]
    pub fn is_avx512(self) -> bool {
        self.0 == Path::Avx512
    }

    /// Whether AVX2 may be used: on every path but the portable one.
    #[inline]
    pub fn has_avx2(self) -> bool {
        self.0 != Path::Portable
    }

    /// Whether AVX2 is the path to take.
    #[inline]
    pub fn is_avx2(self) -> bool {
        self.0 == Path::Avx2
    }
}

fn refusal(rule: String) -> CoreError {
    CoreError::Argument {
        field: "HEADWATER_SIMD",
        rule,
    }
}

#[cfg(target_arch = "x86_64")]
fn has(path: Path) -> bool {
    match path {
        Path::Portable => true,
        Path::Avx2 => is_x86_feature_detected!("avx2"),
        Path::Avx512 => {
            has(Path::Avx2)
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn has(path: Path) -> bool {
    path == Path::Portable
}

/// Runs one body, compiled once for each path: `by_simd!(simd, body(a, b))`. For safe code that the compiler
/// vectorises; `body` is an `#[inline(always)]` function. Floating point stays bit for bit the same, for Rust neither
/// contracts nor reorders.
macro_rules! by_simd {
    ($simd:expr, fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        fn avx512($($arg: $ty),*) $(-> $ret)? {
            $body($($arg),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        fn avx2($($arg: $ty),*) $(-> $ret)? {
            $body($($arg),*)
        }
        let simd: $crate::simd::Simd = $simd;
        match simd {
            // SAFETY: a `Simd` is only made for a path that this CPU has.
            #[cfg(target_arch = "x86_64")]
            _ if simd.is_avx512() => unsafe { avx512($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            _ if simd.is_avx2() => unsafe { avx2($($arg),*) },
            _ => $body($($arg),*),
        }
    }};
}
pub(crate) use by_simd;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_path_and_others_are_refused() {
        for simd in Simd::available() {
            assert_eq!(Simd::named(simd.name()).unwrap(), simd);
        }
        assert_eq!(Simd::named("auto").unwrap(), Simd::best());
        let refused = Simd::named("sse9").unwrap_err().to_string();
        assert!(refused.contains("avx512, avx2, portable"), "{refused}");
    }
}
