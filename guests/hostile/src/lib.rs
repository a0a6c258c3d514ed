//! Guests that attack the host, one small file each under `examples/`. The
//! sandbox's tests run every one, and fail if one has no assertion.

pub use maitred_sdk;

/// A policy whose whole behaviour is one block.
#[macro_export]
macro_rules! guest {
    (|$request:ident, $next:ident| $body:block) => {
        struct Guest;

        impl $crate::maitred_sdk::Policy for Guest {
            fn new(_: &$crate::maitred_sdk::Params) -> $crate::maitred_sdk::Result<Self> {
                Ok(Guest)
            }

            async fn rerank(
                &self,
                $request: $crate::maitred_sdk::Request,
                $next: $crate::maitred_sdk::Next,
            ) -> $crate::maitred_sdk::Result<$crate::maitred_sdk::Ranking> $body
        }

        $crate::maitred_sdk::export!(Guest);
    };
}

/// What attacks need below the bindings. Natively, where guests are only
/// checked, there is nothing to call.
#[allow(unsafe_code)]
pub mod raw {
    #[cfg(target_arch = "wasm32")]
    mod imports {
        #[link(wasm_import_module = "$root")]
        unsafe extern "C" {
            #[link_name = "[waitable-set-new]"]
            pub fn waitable_set_new() -> u32;
        }

        // The version is that of the toolchain's own library, which declares it.
        #[link(wasm_import_module = "wasi:cli/stdout@0.2.0")]
        unsafe extern "C" {
            #[link_name = "get-stdout"]
            pub fn get_stdout() -> i32;
        }

        #[link(wasm_import_module = "[export]maitred:rerank/rerank@0.1.0")]
        unsafe extern "C" {
            #[link_name = "[task-return]rerank"]
            pub fn task_return(case: i32, results: *mut u8, length: usize, scale: i32);
        }
    }

    /// Grows the memory by a page, if the host lets it.
    pub fn grow_memory() {
        #[cfg(target_arch = "wasm32")]
        core::arch::wasm32::memory_grow::<0>(1);
    }

    /// Traps.
    pub fn unreachable() -> ! {
        #[cfg(target_arch = "wasm32")]
        core::arch::wasm32::unreachable();
        #[cfg(not(target_arch = "wasm32"))]
        std::process::abort()
    }

    /// Makes a set of things to wait for, which is never dropped.
    pub fn new_waitable_set() {
        #[cfg(target_arch = "wasm32")]
        // SAFETY: the function has no conditions.
        unsafe {
            imports::waitable_set_new();
        }
    }

    /// Opens the stream once more; the handle is never dropped.
    pub fn open_stdout() {
        #[cfg(target_arch = "wasm32")]
        // SAFETY: the function has no conditions.
        unsafe {
            imports::get_stdout();
        }
    }

    /// Gives the policy's answer, as the bindings do when it returns.
    pub fn answer(ranking: &mut crate::maitred_sdk::Ranking) {
        #[cfg(target_arch = "wasm32")]
        // SAFETY: the list is one of the records that the host expects, and it
        // is read before this returns.
        unsafe {
            let results = ranking.results.as_mut_ptr().cast();
            imports::task_return(0, results, ranking.results.len(), ranking.scale as i32);
        }
        #[cfg(not(target_arch = "wasm32"))]
        let _ = ranking;
    }
}
