//! Gives its answer, which is right, and works on for good instead of leaving.
//! It ends like any that does not stop: an answer is one when its guest rests.

hostile::guest!(|request, next| {
    let mut ranking = next.rerank(request).await?;
    hostile::raw::answer(&mut ranking);
    while !std::hint::black_box(ranking.results.is_empty()) {}
    Ok(ranking)
});
