;; Three memories, each of which grows by a megabyte in turn: none is large, all
;; are. A guest that sees its growth refused traps.
(core module $hoard
  (memory (export "memory") 1)
  (func (export "grow") (result i32) (memory.grow (i32.const 16))))
(core instance $second (instantiate $hoard))
(core instance $third (instantiate $hoard))
(core module $main
  (import "second" "grow" (func $second (result i32)))
  (import "third" "grow" (func $third (result i32)))
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 1024))
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (global.set $free (i32.add (global.get $free) (i32.const 8)))
    (global.set $free (i32.and (global.get $free) (i32.const -8)))
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get 3))))
  (func (export "rerank") (param i32 i32 i32 i32) (result i32)
    (loop $more
      (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
      (if (i32.eq (call $second) (i32.const -1)) (then unreachable))
      (if (i32.eq (call $third) (i32.const -1)) (then unreachable))
      (br $more))
    unreachable))
(core instance $core (instantiate $main
  (with "second" (instance $second))
  (with "third" (instance $third))))
