//! Threads that tokenize, shared by the requests of one model.
//!
//! A request's documents are divided into pieces. Each thread takes one piece of
//! the request at the head of the queue and sends the request to its end, so
//! several threads work for a lone request and a large request does not hold up
//! a small one behind it. Nobody waits in the queue for anybody's answer.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

use super::{EncodedPair, PairEncoder, Query, TokenizeError};
use crate::config::Truncation;
use crate::engine::Pair;
use crate::rerank::Lengths;

/// Bytes of documents in a piece, about: enough to be worth handing over (a
/// kilobyte takes some hundred microseconds), and not so many that a small
/// request waits long behind it. A document is never divided.
const PIECE_BYTES: Range<usize> = 2 << 10..16 << 10;

/// A request's texts as pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// In the order of the documents.
    pub pairs: Vec<Arc<Pair>>,
    /// Pairs that lost tokens to a limit.
    pub truncated: usize,
}

pub struct TokenizerPool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    threads_count: usize,
}

struct Shared {
    encoder: PairEncoder,
    queue: Mutex<Queue>,
    /// Work has come, or the end.
    changed: Condvar,
    tasks_max: usize,
    meters: PoolMeters,
}

/// What a pool measures.
#[derive(Debug, Clone, Default)]
pub struct PoolMeters {
    /// Pieces that wait.
    pub waiting: Gauge,
    pub threads: Gauge,
    /// Seconds that threads spent on pieces.
    pub busy: Counter<f64, AtomicU64>,
}

#[derive(Default)]
struct Queue {
    /// With the number of the piece that is next; a task that is not here has no
    /// pieces left to take.
    tasks: VecDeque<(Arc<Task>, usize)>,
    stopping: bool,
}

/// One request.
struct Task {
    query: Arc<str>,
    documents: Vec<Arc<str>>,
    truncation: Truncation,
    lengths: Lengths,
    pieces: Vec<Range<usize>>,
    /// Encoded by whichever thread comes first; the others wait for it, which is
    /// no longer than it would take them.
    query_ids: OnceLock<Result<Query, TokenizeError>>,
    progress: Mutex<Progress>,
}

struct Progress {
    /// By document.
    pairs: Vec<Option<EncodedPair>>,
    pieces_left: usize,
    /// Taken by whoever answers.
    reply: Option<Reply>,
}

type Reply = oneshot::Sender<Result<Encoded, TokenizeError>>;

impl TokenizerPool {
    /// Starts the threads. More requests than `tasks_max` are refused.
    pub fn start(
        model: &str,
        encoder: PairEncoder,
        threads: usize,
        tasks_max: usize,
        meters: PoolMeters,
    ) -> Result<Self, TokenizeError> {
        let shared = Arc::new(Shared {
            encoder,
            queue: Mutex::default(),
            changed: Condvar::new(),
            tasks_max,
            meters,
        });
        let pool = TokenizerPool {
            shared: shared.clone(),
            threads: Mutex::default(),
            threads_count: threads,
        };
        for index in 0..threads {
            let shared = shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("{model} tokenizer {index}"))
                .spawn(move || shared.work());
            // Dropping the pool ends those that were started.
            let thread = thread.map_err(|error| TokenizeError::Failed(error.to_string()))?;
            lock(&pool.threads).push(thread);
        }
        Ok(pool)
    }

    pub fn encoder(&self) -> &PairEncoder {
        &self.shared.encoder
    }

    /// Encodes the query with each document. Dropping the future skips what has
    /// not begun.
    pub async fn encode(
        &self,
        query: Arc<str>,
        documents: Vec<Arc<str>>,
        truncate: Option<bool>,
        lengths: Lengths,
    ) -> Result<Encoded, TokenizeError> {
        if documents.is_empty() {
            return Ok(Encoded { pairs: Vec::new(), truncated: 0 });
        }
        let (reply, answer) = oneshot::channel();
        let pieces = divide(&documents, self.threads_count);
        let progress = Progress {
            pairs: vec![None; documents.len()],
            pieces_left: pieces.len(),
            reply: Some(reply),
        };
        self.shared.submit(Arc::new(Task {
            query,
            documents,
            truncation: self.shared.encoder.truncation(truncate),
            lengths,
            pieces,
            query_ids: OnceLock::new(),
            progress: Mutex::new(progress),
        }))?;
        answer.await.unwrap_or(Err(TokenizeError::Stopped))
    }

    /// Takes no more requests, and waits for the threads to finish what waits.
    /// Blocks.
    pub fn stop(&self) {
        lock(&self.shared.queue).stopping = true;
        self.shared.changed.notify_all();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // Panics of the tokenizer are caught, so that nobody needs to hear.
            let _ = thread.join();
        }
    }
}

impl Drop for TokenizerPool {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Pieces of about the same number of bytes, at least one for each thread if the
/// documents are worth it.
fn divide(documents: &[Arc<str>], threads: usize) -> Vec<Range<usize>> {
    let bytes: usize = documents.iter().map(|document| document.len()).sum();
    let wanted = bytes.div_ceil(threads.max(1));
    let wanted = wanted.clamp(PIECE_BYTES.start, PIECE_BYTES.end);
    let mut pieces = Vec::new();
    let (mut from, mut size) = (0, 0);
    for (index, document) in documents.iter().enumerate() {
        size += document.len();
        if size >= wanted || index + 1 == documents.len() {
            pieces.push(from..index + 1);
            (from, size) = (index + 1, 0);
        }
    }
    pieces
}

impl Shared {
    fn submit(&self, task: Arc<Task>) -> Result<(), TokenizeError> {
        let pieces = task.pieces.len();
        let mut queue = lock(&self.queue);
        if queue.stopping {
            return Err(TokenizeError::Stopped);
        }
        if queue.tasks.len() >= self.tasks_max {
            let limit = self.tasks_max;
            return Err(TokenizeError::Full { limit });
        }
        queue.tasks.push_back((task, 0));
        self.meters.waiting.inc_by(pieces as i64);
        drop(queue);
        match pieces {
            1 => self.changed.notify_one(),
            _ => self.changed.notify_all(),
        }
        Ok(())
    }

    /// What a thread does until the pool stops.
    fn work(&self) {
        self.meters.threads.inc();
        while let Some((task, piece)) = self.next() {
            let began = Instant::now();
            let work = AssertUnwindSafe(|| task.encode(&self.encoder, piece));
            let encoded = catch_unwind(work)
                .unwrap_or_else(|_| Err(TokenizeError::Failed("it panicked".into())));
            self.meters.busy.inc_by(began.elapsed().as_secs_f64());
            task.finish(piece, encoded);
        }
        self.meters.threads.dec();
    }

    /// Waits for a piece; `None` at the end.
    fn next(&self) -> Option<(Arc<Task>, usize)> {
        let mut queue = lock(&self.queue);
        loop {
            let Some((task, piece)) = queue.tasks.pop_front() else {
                if queue.stopping {
                    return None;
                }
                let waited = self.changed.wait(queue);
                queue = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = task.pieces.len() - piece;
            if task.is_over() {
                self.meters.waiting.dec_by(left as i64);
                continue;
            }
            self.meters.waiting.dec();
            if left > 1 {
                queue.tasks.push_back((task.clone(), piece + 1));
            }
            return Some((task, piece));
        }
    }
}

impl Task {
    /// Answered, or nobody waits for it any more.
    fn is_over(&self) -> bool {
        let progress = lock(&self.progress);
        progress.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn encode(
        &self,
        encoder: &PairEncoder,
        piece: usize,
    ) -> Result<Vec<EncodedPair>, TokenizeError> {
        let query =
            self.query_ids.get_or_init(|| Ok(encoder.query(&self.query)?.within(self.lengths)));
        let query = query.as_ref().map_err(Clone::clone)?;
        let documents = self.pieces[piece].clone();
        documents
            .map(|index| encoder.pair(query, &self.documents[index], index, self.truncation))
            .collect()
    }

    /// Keeps a piece; the last one, or the first error, answers.
    fn finish(&self, piece: usize, encoded: Result<Vec<EncodedPair>, TokenizeError>) {
        let mut progress = lock(&self.progress);
        let answer = match encoded {
            Err(error) => Err(error),
            Ok(pairs) => {
                for (place, pair) in self.pieces[piece].clone().zip(pairs) {
                    progress.pairs[place] = Some(pair);
                }
                progress.pieces_left -= 1;
                if progress.pieces_left > 0 {
                    return;
                }
                Ok(gather(&mut progress))
            }
        };
        if let Some(reply) = progress.reply.take() {
            // Whoever does not wait any more needs no answer.
            let _ = reply.send(answer);
        }
    }
}

fn gather(progress: &mut Progress) -> Encoded {
    let pairs = std::mem::take(&mut progress.pairs);
    let truncated = pairs.iter().flatten().filter(|pair| pair.truncated).count();
    let pairs = pairs.into_iter().flatten();
    Encoded { pairs: pairs.map(|encoded| Arc::new(encoded.pair)).collect(), truncated }
}

/// Whoever panics holds none of these locks: a tokenizer runs outside of them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
