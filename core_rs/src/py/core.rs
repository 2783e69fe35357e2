//! The class `Core`: one engine's state, folded and asked from any number of threads.

use parking_lot::{RwLock, RwLockReadGuard};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{FoldConfig, generation_id};
use crate::error::{CoreError, unpanicked};
use crate::filter::FilterCache;
use crate::fold::batch::{decode_frames_at, portion};
use crate::fold::parts;
use crate::fold::report::Report;
use crate::fold::state::State;
use crate::ids::Position;
use crate::py::clock::microseconds;
use crate::py::error::{detached, protocol};
use crate::py::hosts::{Owned, has_everything, ownership, owns_item, owns_user};
use crate::py::kernels::simd;
use crate::py::stats::stats;
use crate::py::threads::threads_named;
use crate::py::written_state::named;
use crate::query::batch::recommend_batch;
use crate::query::graphs::Graphs;
use crate::query::hosts::anonymous;
use crate::query::leading::LeadingCache;
use crate::query::many::recommend_many;
use crate::query::plan::Tools;
use crate::query::{item_view, recommend, session_view, similar, taking_part, trending};
use crate::scenario::QueryConfig;

/// Position, index inside the frame, code.
type Refused = (u64, u16, &'static str);

/// Bytes that most answers fit.
const USUAL_ANSWER: usize = 16 << 10;

/// An answer, if there is one.
type MaybeBytes<'py> = Option<Bound<'py, PyBytes>>;

/// Name and file of a part.
pub(super) type NamedPart<'py> = (String, Bound<'py, PyBytes>);

/// One engine's state. All methods are safe to call from any thread; those that fold exclude each other and queries
/// only for the time of a segment.
#[pyclass(frozen, module = "headwater._core")]
pub struct Core {
    config: FoldConfig,
    generation: String,
    pub(super) generation_bits: u128,
    query: QueryConfig,
    filters: FilterCache,
    pub(super) graphs: Graphs,
    leading: LeadingCache,
    /// Whether a spare thread may help with a question.
    helped: bool,
    /// The fold's threads.
    pub(super) pool: Option<rayon::ThreadPool>,
    pub(super) state: RwLock<State>,
}

impl Core {
    fn with_state(
        fold_json: &[u8],
        query_json: &[u8],
        threads: usize,
        state: State,
    ) -> PyResult<Self> {
        let config = FoldConfig::from_json(fold_json)?;
        let generation = generation_id(fold_json);
        let generation_bits = u128::from_str_radix(&generation, 16).map_err(protocol)?;
        let query = QueryConfig::from_json(query_json)?;
        Ok(Self {
            config,
            generation,
            generation_bits,
            query,
            filters: FilterCache::default(),
            graphs: Graphs::default(),
            leading: LeadingCache::default(),
            helped: threads > 1,
            pool: threads_named("fold", if threads > 1 { threads } else { 0 })?,
            state: RwLock::new(state),
        })
    }

    fn max_future_ms(&self) -> i64 {
        (self.config.max_future_hours * 3_600_000.0) as i64
    }

    pub(super) fn sound(&self) -> Result<RwLockReadGuard<'_, State>, CoreError> {
        let state = self.state.read();
        state.check_sound().map(|()| state)
    }

    pub(super) fn tools<'a>(&'a self, state: &'a State) -> Tools<'a> {
        let active = state.control.active();
        Tools {
            query: active.map_or(&self.query, |(_, query)| query),
            filters: &self.filters,
            graphs: Some(&self.graphs),
            leading: Some(&self.leading),
            helped: self.helped,
        }
    }

    /// Decodes a request, answers it under the read lock without the GIL, encodes the answer.
    fn ask<'py, Q: DeserializeOwned + Send + Sync, A: Serialize + Send>(
        &self,
        py: Python<'py>,
        request: &[u8],
        verb: impl Fn(&State, &Tools<'_>, &Q) -> Result<A, CoreError> + Sync + Send,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let request: Q = rmp_serde::from_slice(request).map_err(protocol)?;
        let answer = detached(py, || {
            let state = self.state.read();
            has_everything(&state)?;
            let answer = verb(&state, &self.tools(&state), &request)?;
            drop(state);
            let mut bytes = Vec::with_capacity(USUAL_ANSWER);
            let written = answer.serialize(&mut rmp_serde::Serializer::new(&mut bytes));
            Ok::<_, PyErr>(written.map(|()| bytes))
        })?;
        Ok(PyBytes::new(py, &answer.map_err(protocol)?))
    }
}

#[pymethods]
impl Core {
    /// `owned`: partitions and shards of a host, one of the two empty; everything where it is absent.
    #[new]
    #[pyo3(signature = (fold_json, query_json, threads, owned=None))]
    fn new(
        fold_json: &[u8],
        query_json: &[u8],
        threads: usize,
        owned: Option<Owned>,
    ) -> PyResult<Self> {
        // Chosen before anything asks for it.
        simd()?;
        let config = FoldConfig::from_json(fold_json)?;
        let ownership = ownership(&config, owned)?;
        let state = State::owned(&config, ownership)?;
        Self::with_state(fold_json, query_json, threads, state)
    }

    /// The state of a snapshot's parts.
    #[staticmethod]
    #[pyo3(signature = (fold_json, query_json, threads, parts, owned=None))]
    fn restore(
        py: Python<'_>,
        fold_json: &[u8],
        query_json: &[u8],
        threads: usize,
        parts: Vec<(String, PyBackedBytes)>,
        owned: Option<Owned>,
    ) -> PyResult<Self> {
        // Chosen before anything asks for it.
        simd()?;
        let config = FoldConfig::from_json(fold_json)?;
        let ownership = ownership(&config, owned)?;
        let generation = u128::from_str_radix(&generation_id(fold_json), 16).map_err(protocol)?;
        let state = detached(py, || {
            let files: Vec<(String, &[u8])> = parts
                .iter()
                .map(|(name, file)| (name.clone(), &**file))
                .collect();
            parts::restore_owned(&config, generation, ownership, &files)
        })?;
        Self::with_state(fold_json, query_json, threads, state)
    }

    /// Folds frames that stand at consecutive positions from `first`. Returns counts by outcome and the latest refusals
    /// as (position, index, code).
    fn apply<'py>(
        &self,
        py: Python<'py>,
        first: u64,
        frames: Vec<PyBackedBytes>,
    ) -> PyResult<(Bound<'py, PyDict>, Vec<Refused>)> {
        let positions = (first..).take(frames.len()).collect();
        self.apply_at(py, positions, frames)
    }

    /// [`Core::apply`] of frames at these positions, each after the one before. Only a host that is not fed every frame may
    /// leave any out; frames of partitions that it does not own are passed over.
    fn apply_at<'py>(
        &self,
        py: Python<'py>,
        positions: Vec<u64>,
        frames: Vec<PyBackedBytes>,
    ) -> PyResult<(Bound<'py, PyDict>, Vec<Refused>)> {
        if positions.len() != frames.len() {
            let counts = (positions.len(), frames.len());
            return Err(protocol(format!(
                "{} positions for {} frames",
                counts.0, counts.1
            )));
        }
        let mut report = Report::default();
        detached(py, || {
            let at = |i: usize| Position(positions[i]);
            self.state
                .read()
                .check_positions((0..positions.len()).map(at))?;
            let bytes: Vec<&[u8]> = frames.iter().map(|f| &**f).collect();
            let (future, pool) = (self.max_future_ms(), self.pool.as_ref());
            let mut done = 0;
            while done < bytes.len() {
                let own = &bytes[done..done + portion(&bytes[done..])];
                let batch = decode_frames_at(|i| at(done + i), own, future, pool);
                let mut rest = batch.as_slice();
                while !rest.is_empty() {
                    let taken = self.state.write().apply_some(rest, pool, &mut report)?;
                    rest = &rest[taken..];
                }
                done += own.len();
            }
            Ok::<_, CoreError>(())
        })?;
        let counts = PyDict::new(py);
        for (outcome, times) in report.counts.iter() {
            counts.set_item(outcome, times)?;
        }
        let refusals = report
            .refusals
            .iter()
            .map(|r| (r.at.position().0, r.at.index(), r.code))
            .collect();
        Ok((counts, refusals))
    }

    /// Notes that no frame for this host stands between its position and the end of `position`.
    fn reached(&self, position: u64) -> PyResult<()> {
        Ok(self.state.write().reach(Position(position))?)
    }

    /// Position of the last frame folded, or passed by a host that is not fed every frame.
    #[getter]
    fn position(&self) -> u64 {
        self.state.read().position.0
    }

    /// Largest event time folded, 0 before the first event.
    #[getter]
    fn clock(&self) -> i64 {
        self.state.read().clock()
    }

    /// Identity of the generation.
    #[getter]
    fn generation(&self) -> &str {
        &self.generation
    }

    /// Version and JSON of the active query configuration's version, if one was activated in the log.
    fn active_config(&self) -> Option<String> {
        self.state
            .read()
            .control
            .active()
            .map(|(version, _)| version.to_string())
    }

    /// The variant, `experiment/variant`, that answers a visitor's question of a scenario at `now`, if one does.
    fn assign(&self, visitor: &str, scenario: Option<&str>, now: i64) -> PyResult<Option<String>> {
        let state = self.state.read();
        owns_user(&state, visitor)?;
        let query = self.tools(&state).query;
        let assign = || taking_part::assign(&state, query, visitor, scenario, now);
        Ok(unpanicked(assign)?.map(str::to_string))
    }

    /// The variant of a visitor in an experiment at `now`, whatever they ask; `None` for one who does not take part.
    fn variant_of(&self, visitor: &str, experiment: &str, now: i64) -> PyResult<Option<String>> {
        let state = self.state.read();
        owns_user(&state, visitor)?;
        let query = self.tools(&state).query;
        let variant = || taking_part::variant_of(&state, query, visitor, experiment, now);
        Ok(unpanicked(variant)??.map(str::to_string))
    }

    /// Digest of every part, and `whole`, as 32 hex digits.
    fn digest<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let pool = self.pool.as_ref();
        let digests = detached(py, || {
            Ok::<_, CoreError>(parts::digests(&*self.sound()?, pool))
        })?;
        let out = PyDict::new(py);
        let whole = digests
            .iter()
            .fold(0u128, |sum, (_, digest)| sum.wrapping_add(*digest));
        out.set_item("whole", format!("{whole:032x}"))?;
        for (part, digest) in digests {
            out.set_item(part, format!("{digest:032x}"))?;
        }
        Ok(out)
    }

    /// Position and files of all parts at that position.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<(u64, Vec<NamedPart<'py>>)> {
        let pool = self.pool.as_ref();
        let (position, files) = detached(py, || {
            // Folds wait while the parts are written out, not while they are packed.
            let raw = parts::snapshot(&*self.sound()?, pool);
            Ok::<_, CoreError>((raw.position.0, raw.seal(self.generation_bits, pool)?))
        })?;
        Ok((position, named(py, files)))
    }

    /// `recommend`, `session` and `rank`: a `RecommendRequest` in, an `Answer` out, both MessagePack. Under the active query
    /// configuration, or under `query`, the JSON of another one.
    #[pyo3(signature = (request, query=None))]
    fn recommend<'py>(
        &self,
        py: Python<'py>,
        request: &[u8],
        query: Option<&[u8]>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let other = query.map(QueryConfig::from_json).transpose()?;
        self.ask(py, request, |state, tools, request| {
            let query = other.as_ref().unwrap_or(tools.query);
            recommend::recommend(state, &Tools { query, ..*tools }, request)
        })
    }

    /// `recommend` for many users at once, on the fold's threads: a `ManyRequest` in, a `ManyAnswer` out.
    fn recommend_many<'py>(
        &self,
        py: Python<'py>,
        request: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.ask(py, request, |state, tools, request| {
            recommend_many(state, tools, request, self.pool.as_ref())
        })
    }

    /// Many questions at once, on the fold's threads: an array of `RecommendRequest` in, a `BatchAnswer` out.
    fn recommend_batch<'py>(
        &self,
        py: Python<'py>,
        requests: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let clock = microseconds();
        self.ask(py, requests, |state, tools, requests: &Vec<_>| {
            recommend_batch(state, tools, requests, self.pool.as_ref(), &clock)
        })
    }

    /// `similar`: a `SimilarRequest` in, an `Answer` out.
    fn similar<'py>(&self, py: Python<'py>, request: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        self.ask(py, request, similar::similar)
    }

    /// `trending`: a `TrendingRequest` in, an `Answer` out.
    fn trending<'py>(&self, py: Python<'py>, request: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        self.ask(py, request, trending::trending)
    }

    /// A session host's question to all item hosts: a `RecommendRequest` in.
    fn scatter<'py>(&self, py: Python<'py>, request: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.scatter_bytes(py, request)?))
    }

    /// An item host's reply to what `scatter` gave.
    fn candidates<'py>(&self, py: Python<'py>, scatter: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.candidates_bytes(py, scatter)?))
    }

    /// What `recommend` would answer, on the host that scattered, from the replies: an `Answer`, or the scatter to ask instead
    /// because the catalogue must fill in. Hosts whose replies are missing are left out.
    fn gather<'py>(
        &self,
        py: Python<'py>,
        scatter: &[u8],
        replies: Vec<PyBackedBytes>,
    ) -> PyResult<(MaybeBytes<'py>, MaybeBytes<'py>)> {
        let (answer, again) = self.gather_bytes(py, scatter, &replies)?;
        let bytes = |bytes: Vec<u8>| PyBytes::new(py, &bytes);
        Ok((answer.map(bytes), again.map(bytes)))
    }

    /// An item host's part of `similar`: a `SimilarRequest` in.
    fn similar_candidates<'py>(
        &self,
        py: Python<'py>,
        request: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let part = anonymous::similar_candidates;
        Ok(PyBytes::new(py, &self.part_bytes(py, request, part)?))
    }

    /// What `similar` would answer, on any host, from the parts of item hosts.
    fn gather_similar<'py>(
        &self,
        py: Python<'py>,
        request: &[u8],
        replies: Vec<PyBackedBytes>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let whole = anonymous::gather_similar;
        Ok(PyBytes::new(
            py,
            &self.gathered_bytes(py, request, &replies, whole)?,
        ))
    }

    /// An item host's part of `trending`: a `TrendingRequest` in.
    fn trending_candidates<'py>(
        &self,
        py: Python<'py>,
        request: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let part = anonymous::trending_candidates;
        Ok(PyBytes::new(py, &self.part_bytes(py, request, part)?))
    }

    /// What `trending` would answer, on any host, from the parts of item hosts.
    fn gather_trending<'py>(
        &self,
        py: Python<'py>,
        request: &[u8],
        replies: Vec<PyBackedBytes>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let whole = anonymous::gather_trending;
        Ok(PyBytes::new(
            py,
            &self.gathered_bytes(py, request, &replies, whole)?,
        ))
    }

    /// What is known of a user as MessagePack; `None` for one without state.
    fn session_view<'py>(
        &self,
        py: Python<'py>,
        user: &str,
        now: i64,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let state = self.state.read();
        owns_user(&state, user)?;
        let view = unpanicked(|| session_view::session_view(&state, user, now))?;
        let Some(view) = view else {
            return Ok(None);
        };
        Ok(Some(PyBytes::new(
            py,
            &rmp_serde::to_vec(&view).map_err(protocol)?,
        )))
    }

    /// What is known of an item as MessagePack; `None` for one that nothing ever named.
    fn item_view<'py>(
        &self,
        py: Python<'py>,
        item: &str,
        now: i64,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let state = self.state.read();
        owns_item(&state, item)?;
        let view = unpanicked(|| item_view::item_view(&state, item, now))?;
        let Some(view) = view else {
            return Ok(None);
        };
        Ok(Some(PyBytes::new(
            py,
            &rmp_serde::to_vec(&view).map_err(protocol)?,
        )))
    }

    /// Whether any event or put ever named the item.
    fn knows_item(&self, item: &str) -> bool {
        self.state.read().names.find_item(item).is_some()
    }

    /// Highest frame number received from a producer in a partition, for resuming an import.
    fn high_water(&self, partition: usize, producer: u64, epoch: u64) -> Option<u64> {
        self.state
            .read()
            .partitions
            .get(partition)?
            .high_water(producer, epoch)
    }

    /// Counts of things held and bytes held by each kind of part, and counts by outcome since the first frame.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats(&self.state.read(), py)
    }
}
