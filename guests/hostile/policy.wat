;; A policy around a core module: the types of `wit/rerank.wit`, and a lifted
;; function. What is in `cores/` takes the place of the line CORE. It defines
;; `$core`, an instance with a `memory`, a `realloc`, and `rerank`, which takes
;; where the query and the documents are and returns where its answer is; or it defines the
;; function `$rerank`, and then the line LIFT stands for nothing.
(component $root
  (type $types-type (instance
    (type $value-type (variant
      (case "text" string) (case "integer" s64) (case "number" f64)
      (case "boolean" bool) (case "texts" (list string))))
    (export "value" (type $value (eq $value-type)))
    (type $field-type (record (field "name" string) (field "value" $value)))
    (export "field" (type $field (eq $field-type)))
    (type $document-type (record
      (field "index" u32) (field "part" u32) (field "text" string)
      (field "fields" (list $field))))
    (export "document" (type $document (eq $document-type)))
    (type $request-type (record (field "query" string) (field "documents" (list $document))))
    (export "request" (type (eq $request-type)))
    (type $ranked-type (record (field "index" u32) (field "part" u32) (field "score" f32)))
    (export "ranked" (type $ranked (eq $ranked-type)))
    (type $scale-type (enum "logit" "probability" "order"))
    (export "scale" (type $scale (eq $scale-type)))
    (type $ranking-type (record (field "results" (list $ranked)) (field "scale" $scale)))
    (export "ranking" (type (eq $ranking-type)))
    (type $error-type (variant
      (case "invalid" string) (case "denied" string) (case "overloaded" u32)
      (case "deadline-exceeded") (case "unavailable" string) (case "internal" string)))
    (export "error" (type (eq $error-type)))))
  (import "maitred:rerank/types@0.1.0" (instance $types (type $types-type)))
  (alias export $types "request" (type $request))
  (alias export $types "ranking" (type $ranking))
  (alias export $types "error" (type $error))
  CORE
  LIFT
  (instance $policy (export "rerank" (func $rerank)))
  (export "maitred:rerank/rerank@0.1.0" (instance $policy)))
