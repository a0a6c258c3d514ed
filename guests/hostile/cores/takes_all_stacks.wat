;; Keeps a stack for each of 14 functions that wait in the middle of their work, for as long as it
;; has CPU time. They and their callers are components side by side: none may be entered by the
;; one that contains it, and none twice.
(component $sleeper
  (core func $new (canon waitable-set.new))
  (core module $m
    (import "" "new" (func $new (result i32)))
    ;; Waits for a set with nothing in it.
    (func (export "sleep") (result i32) (i32.or (i32.shl (call $new) (i32.const 4)) (i32.const 2)))
    (func (export "woken") (param i32 i32 i32) (result i32) (i32.const 0)))
  (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
  (func (export "sleep") async
    (canon lift (core func $i "sleep") async (callback (core func $i "woken")))))
;; Lets the next one begin, and then sleeps in a call that it cannot leave.
(component $holder
  (import "next" (func $next async))
  (import "sleep" (func $sleep async))
  (core func $next (canon lower (func $next) async))
  (core func $sleep (canon lower (func $sleep)))
  (core module $m
    (import "" "next" (func $next (result i32)))
    (import "" "sleep" (func $sleep))
    (func (export "hold") (drop (call $next)) (call $sleep)))
  (core instance $i (instantiate $m
    (with "" (instance (export "next" (func $next)) (export "sleep" (func $sleep))))))
  (func (export "hold") async (canon lift (core func $i "hold"))))
(instance $sleeper (instantiate $sleeper))
(alias export $sleeper "sleep" (func $sleep))
(instance $h1 (instantiate $holder
  (with "next" (func $sleep)) (with "sleep" (func $sleep))))
(instance $h2 (instantiate $holder
  (with "next" (func $h1 "hold")) (with "sleep" (func $sleep))))
(instance $h3 (instantiate $holder
  (with "next" (func $h2 "hold")) (with "sleep" (func $sleep))))
(instance $h4 (instantiate $holder
  (with "next" (func $h3 "hold")) (with "sleep" (func $sleep))))
(instance $h5 (instantiate $holder
  (with "next" (func $h4 "hold")) (with "sleep" (func $sleep))))
(instance $h6 (instantiate $holder
  (with "next" (func $h5 "hold")) (with "sleep" (func $sleep))))
(instance $h7 (instantiate $holder
  (with "next" (func $h6 "hold")) (with "sleep" (func $sleep))))
(instance $h8 (instantiate $holder
  (with "next" (func $h7 "hold")) (with "sleep" (func $sleep))))
(instance $h9 (instantiate $holder
  (with "next" (func $h8 "hold")) (with "sleep" (func $sleep))))
(instance $h10 (instantiate $holder
  (with "next" (func $h9 "hold")) (with "sleep" (func $sleep))))
(instance $h11 (instantiate $holder
  (with "next" (func $h10 "hold")) (with "sleep" (func $sleep))))
(instance $h12 (instantiate $holder
  (with "next" (func $h11 "hold")) (with "sleep" (func $sleep))))
(instance $h13 (instantiate $holder
  (with "next" (func $h12 "hold")) (with "sleep" (func $sleep))))
(instance $h14 (instantiate $holder
  (with "next" (func $h13 "hold")) (with "sleep" (func $sleep))))
(component $main
  (alias outer $root $types-type (type $types-type))
  (import "types" (instance $types (type $types-type)))
  (alias export $types "request" (type $request))
  (alias export $types "ranking" (type $ranking))
  (alias export $types "error" (type $error))
  (import "hold" (func $hold async))
  (core func $hold (canon lower (func $hold) async))
  (core func $yield (canon thread.yield))
  (core module $m
    (import "" "hold" (func $hold (result i32)))
    (import "" "yield" (func $yield (result i32)))
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "rerank") (param i32 i32 i32 i32) (result i32)
      (drop (call $hold))
      (loop $more (drop (call $yield)) (br $more))
      unreachable))
  (core instance $core (instantiate $m
    (with "" (instance (export "hold" (func $hold)) (export "yield" (func $yield))))))
  (func (export "rerank") async
    (param "request" $request) (result (result $ranking (error $error)))
    (canon lift (core func $core "rerank") (memory (core memory $core "memory"))
      (realloc (core func $core "realloc")))))
(instance $main (instantiate $main
  (with "types" (instance $types)) (with "hold" (func $h14 "hold"))))
(alias export $main "rerank" (func $rerank))
