//! Answers with thousands of parts that nobody cut.

use hostile::maitred_sdk::Ranked;

hostile::guest!(|request, next| {
    let mut ranking = next.rerank(request).await?;
    let first = ranking.results[0];
    ranking.results = (0..100_000).map(|part| Ranked { part, ..first }).collect();
    Ok(ranking)
});
