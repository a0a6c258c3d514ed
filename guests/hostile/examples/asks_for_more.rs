//! Imports a power that the host does not have. It is refused when it is
//! loaded.

wit_bindgen::generate!({
    inline: "
        package strange:power;
        interface rockets { launch: func(); }
        world guest { import rockets; }
    ",
});

hostile::guest!(|request, next| {
    strange::power::rockets::launch();
    next.rerank(request).await
});
