//! Prints a hundred thousand lines of one letter, each of which would cost an
//! event of the log, then works as it should.

use std::io::Write;

hostile::guest!(|request, next| {
    let _ = std::io::stdout().write_all("x\n".repeat(100_000).as_bytes());
    next.rerank(request).await
});
