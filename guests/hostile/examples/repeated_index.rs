//! Answers with one document twice.

hostile::guest!(|request, next| {
    let mut ranking = next.rerank(request).await?;
    ranking.results[1] = ranking.results[0];
    Ok(ranking)
});
