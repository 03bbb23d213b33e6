//! Inner loops that the compiler vectorizes, compiled for several instruction sets and chosen at run time.

/// Declares a function whose body is compiled for AVX-512, for AVX2 and for the baseline. In the body, `FUSED` says
/// whether a product and a sum are one instruction, and `ROWS` how many rows the registers hold.
macro_rules! simd {
    ($(#[$doc:meta])* fn $name:ident<$fused:ident, $rows:ident = $avx512:literal / $avx2:literal / $base:literal>
        ($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        fn $name($($arg: $ty),*) {
            #[inline(always)]
            fn body<const $fused: bool, const $rows: usize>($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::cpu::Level;
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn avx512($($arg: $ty),*) {
                    body::<true, $avx512>($($arg),*);
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) {
                    body::<true, $avx2>($($arg),*);
                }
                match Level::best() {
                    Level::Vnni | Level::Avx512 => {
                        // SAFETY: `best` has found these instructions on this machine.
                        #[expect(unsafe_code, reason = "instructions found at run time")]
                        unsafe { avx512($($arg),*) }
                    }
                    Level::Avx2 => {
                        // SAFETY: as above.
                        #[expect(unsafe_code, reason = "instructions found at run time")]
                        unsafe { avx2($($arg),*) }
                    }
                    Level::Scalar => body::<false, $base>($($arg),*),
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            body::<{ cfg!(target_arch = "aarch64") }, $avx2>($($arg),*);
        }
    };
}
pub(super) use simd;

/// `a * b + c`
#[inline(always)]
pub(super) fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}
