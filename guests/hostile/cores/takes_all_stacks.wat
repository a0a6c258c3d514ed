;; Calls, a thousand times over, a function that waits for nothing in the middle
;; of its work, so that each call would keep a stack. A component that is not
;; made for it cannot be entered twice.
(component $waiter
  (core module $libc (memory (export "memory") 1))
  (core instance $libc (instantiate $libc))
  (core func $new (canon waitable-set.new))
  (core func $wait (canon waitable-set.wait (memory (core memory $libc "memory"))))
  (core module $m
    (import "" "new" (func $new (result i32)))
    (import "" "wait" (func $wait (param i32 i32) (result i32)))
    (func (export "wait") (drop (call $wait (call $new) (i32.const 0)))))
  (core instance $i (instantiate $m
    (with "" (instance (export "new" (func $new)) (export "wait" (func $wait))))))
  (func (export "wait") async (canon lift (core func $i "wait"))))
(instance $waiter (instantiate $waiter))
(core func $start (canon lower (func $waiter "wait") async))
(core module $main
  (import "" "start" (func $start (result i32)))
  (memory (export "memory") 1)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "rerank") (param i32 i32 i32 i32) (result i32)
    (local $left i32)
    (local.set $left (i32.const 1000))
    (loop $more
      (drop (call $start))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $more (local.get $left)))
    unreachable))
(core instance $core (instantiate $main
  (with "" (instance (export "start" (func $start))))))
