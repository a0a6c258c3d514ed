//! Scores with something that is no number.

hostile::guest!(|request, next| {
    let mut ranking = next.rerank(request).await?;
    ranking.results[0].score = f32::NAN;
    Ok(ranking)
});
