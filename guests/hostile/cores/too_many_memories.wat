;; Brings more memories than a policy may have.
(core module $hoard (memory (export "memory") 1))
(core instance (instantiate $hoard))
(core instance (instantiate $hoard))
(core instance (instantiate $hoard))
(core instance (instantiate $hoard))
(core module $main
  (memory (export "memory") 1)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "rerank") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
(core instance $core (instantiate $main))
