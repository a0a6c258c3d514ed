//! Gets a probability wrong by what rounding does to a weighted mean.

hostile::guest!(|request, next| {
    let mut ranking = next.rerank(request).await?;
    ranking.results[1].score += 1e-6;
    ranking.results[2].score -= 1e-6;
    Ok(ranking)
});
