;; The function of the usual core.
  (func $rerank async (param "request" $request) (result (result $ranking (error $error)))
    (canon lift (core func $core "rerank") (memory (core memory $core "memory"))
      (realloc (core func $core "realloc"))))
