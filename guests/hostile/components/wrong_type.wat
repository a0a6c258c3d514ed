;; Exports a `rerank` of another shape.
(component
  (core module $m (func (export "f") (param i32) (result i32) (local.get 0)))
  (core instance $i (instantiate $m))
  (func $f (param "request" u32) (result u32) (canon lift (core func $i "f")))
  (instance $e (export "rerank" (func $f)))
  (export "maitred:rerank/rerank@0.1.0" (instance $e)))
