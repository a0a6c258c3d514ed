;; A module, which is what compilers make first, and no component.
(module (memory (export "memory") 1))
