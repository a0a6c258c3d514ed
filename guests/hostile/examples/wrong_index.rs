//! Answers with a document that the client does not have.

hostile::guest!(|request, next| {
    let mut ranking = next.rerank(request).await?;
    ranking.results[0].index = 999;
    Ok(ranking)
});
