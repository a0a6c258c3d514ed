//! Puts a document above all others for good.

hostile::guest!(|request, next| {
    let mut ranking = next.rerank(request).await?;
    ranking.results[0].score = f32::INFINITY;
    Ok(ranking)
});
