;; Grows a table as far as it goes, and traps where the host says no. What is in
;; a table is memory, too.
(core module $main
  (memory (export "memory") 1)
  (table $table 1 funcref)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "rerank") (param i32 i32 i32 i32) (result i32)
    (loop $more
      (br_if $more (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))
    unreachable))
(core instance $core (instantiate $main))
