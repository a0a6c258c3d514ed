;; Never gets as far as being instantiated.
(core module $main
  (memory (export "memory") 1)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "rerank") (param i32 i32 i32 i32) (result i32) (i32.const 0))
  (func $start (loop $more (br $more)))
  (start $start))
(core instance $core (instantiate $main))
