use std::path::Path;

use futures_util::future::join_all;

use super::*;

const TOKENIZER: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/tiny-bert/tokenizer.json");

fn encoder() -> PairEncoder {
    PairEncoder::load(Path::new(TOKENIZER), true, 64, Truncation::LongestFirst).unwrap()
}

fn pool(threads: usize, tasks_max: usize) -> TokenizerPool {
    TokenizerPool::start("tiny", encoder(), threads, tasks_max, PoolMeters::default()).unwrap()
}

fn documents(count: usize, words: usize) -> Vec<Arc<str>> {
    let text = |index: usize| format!("{} {index}", "bread tide ".repeat(words)).into();
    (0..count).map(text).collect()
}

#[test]
fn documents_are_divided_by_their_bytes() {
    // The number of documents of each piece.
    let check = |lengths: &[usize], threads, expected: &[usize]| {
        let text = |length: &usize| "x".repeat(*length).into();
        let documents: Vec<Arc<str>> = lengths.iter().map(text).collect();
        let pieces = divide(&documents, threads);
        let counts: Vec<_> = pieces.iter().map(ExactSizeIterator::len).collect();
        assert_eq!(counts, expected, "{lengths:?}");
        let all: Vec<usize> = pieces.into_iter().flatten().collect();
        assert!(all.into_iter().eq(0..lengths.len()), "{lengths:?}");
    };
    check(&[10], 4, &[1]);
    check(&[100; 8], 4, &[8]);
    check(&[1024; 8], 2, &[4, 4]);
    check(&[1024; 8], 4, &[2, 2, 2, 2]);
    check(&[100_000, 1, 1], 1, &[1, 2]);
    check(&[0, 0], 3, &[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_in_their_own_order() {
    let pool = pool(3, 100);
    let requests = (0..40).map(|request| {
        let documents = documents(1 + request * 3, 1 + request);
        let pool = &pool;
        async move {
            let query: Arc<str> = format!("query {request}").into();
            let encoded =
                pool.encode(query.clone(), documents.clone(), None, Lengths::default()).await;
            let encoded = encoded.unwrap();
            let query = pool.encoder().query(&query).unwrap();
            let one = |(position, document): (usize, &Arc<str>)| {
                let truncation = Truncation::LongestFirst;
                pool.encoder().pair(&query, document, position, truncation).unwrap()
            };
            let expected: Vec<_> = documents.iter().enumerate().map(one).collect();
            let truncated = expected.iter().filter(|pair| pair.truncated).count();
            assert_eq!(encoded.truncated, truncated);
            for (found, expected) in encoded.pairs.iter().zip(&expected) {
                assert_eq!(**found, expected.pair);
            }
            assert_eq!(encoded.pairs.len(), expected.len());
        }
    });
    join_all(requests).await;
    assert_eq!(pool.shared.meters.waiting.get(), 0);
    assert_eq!(pool.encode("q".into(), vec![], None, Lengths::default()).await.unwrap().pairs, []);
}

#[tokio::test]
async fn an_error_names_its_document_and_ends_the_request() {
    let pool = pool(2, 100);
    let mut documents = documents(300, 8);
    documents[217] = "word ".repeat(100).into();
    let error =
        pool.encode("q".into(), documents, Some(false), Lengths::default()).await.unwrap_err();
    assert!(
        matches!(error, TokenizeError::PairTooLong { document: 217, limit: 64, .. }),
        "{error}"
    );
}

/// A pool without threads: work waits until the test does it.
#[tokio::test]
async fn what_nobody_waits_for_is_skipped_and_what_is_too_much_is_refused() {
    let pool = pool(0, 2);
    let encode = |documents| Box::pin(pool.encode("q".into(), documents, None, Lengths::default()));
    let mut first = encode(documents(4, 1000));
    let mut second = encode(documents(1, 1));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    assert_eq!(pool.shared.meters.waiting.get(), 3);
    let full = encode(documents(1, 1)).await;
    assert_eq!(full, Err(TokenizeError::Full { limit: 2 }));
    drop(first);
    let (task, piece) = pool.shared.next().unwrap();
    assert_eq!(task.documents.len(), 1);
    assert_eq!(pool.shared.meters.waiting.get(), 0);
    task.finish(piece, task.encode(pool.encoder(), piece));
    assert_eq!(second.await.unwrap().pairs.len(), 1);
}

#[tokio::test]
async fn a_large_request_does_not_hold_up_a_small_one() {
    let pool = pool(0, 10);
    let mut large =
        Box::pin(pool.encode("q".into(), documents(100, 100), None, Lengths::default()));
    let mut small = Box::pin(pool.encode("q".into(), documents(1, 1), None, Lengths::default()));
    assert!(futures_util::poll!(&mut large).is_pending());
    assert!(futures_util::poll!(&mut small).is_pending());
    let sizes = [(); 3].map(|()| pool.shared.next().unwrap().0.documents.len());
    assert_eq!(sizes, [100, 1, 100]);
}

#[tokio::test]
async fn stopping_finishes_what_waits_and_takes_no_more() {
    let pool = pool(1, 10);
    let waits = pool.encode("q".into(), documents(50, 50), None, Lengths::default());
    // In this order: what waits is handed over before the pool stops.
    let (encoded, ()) = tokio::join!(biased; waits, async { pool.stop() });
    assert_eq!(encoded.unwrap().pairs.len(), 50);
    let refused = pool.encode("q".into(), documents(1, 1), None, Lengths::default()).await;
    assert_eq!(refused, Err(TokenizeError::Stopped));
}
