;; A component that exports something, and not `rerank`.
(component
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (instance $e (export "launch" (func $f)))
  (export "strange:power/rockets" (instance $e)))
