//! Calls twice the certainty a probability.

hostile::guest!(|request, next| {
    let mut ranking = next.rerank(request).await?;
    ranking.results[1].score = 2.0;
    Ok(ranking)
});
