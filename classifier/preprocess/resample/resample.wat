;; The two passes of resizing 8-bit pixels, in fixed point with 22 bits behind the point, as resample.ts explains.
;;
;; Taps of one axis are a table of 32-bit integers, `step` bytes for each new position:
;;   the first old position that counts, how many do, then their weights, zeros up to a multiple of four.
;; Rows have 16 bytes to spare at their ends, which are read and written, and do not count.
(module
  (memory (export "memory") 1)

  ;; Half of one, so that shifting rounds.
  (global $half i32 (i32.const 0x200000))

  ;; Four sums to four bytes at `to`, clamped to 0…255.
  (func $store (param $to i32) (param $sums v128)
    (local $words v128)
    (local.set $words (i32x4.shr_s (local.get $sums) (i32.const 22)))
    (local.set $words (i16x8.narrow_i32x4_s (local.get $words) (local.get $words)))
    (v128.store32_lane 0 (local.get $to) (i8x16.narrow_i16x8_u (local.get $words) (local.get $words))))

  ;; One row of RGB: `length` new pixels at `to` from the old ones at `row`. The three channels of a pixel are three lanes.
  (func (export "narrowColours") (param $row i32) (param $to i32) (param $taps i32) (param $step i32) (param $length i32)
    (local $end i32) (local $from i32) (local $weight i32) (local $last i32) (local $sums v128)
    (local.set $end (i32.add (local.get $to) (i32.mul (local.get $length) (i32.const 3))))
    (loop $pixels
      (if (i32.lt_u (local.get $to) (local.get $end))
        (then
          (local.set $from (i32.add (local.get $row) (i32.mul (i32.load (local.get $taps)) (i32.const 3))))
          (local.set $weight (i32.add (local.get $taps) (i32.const 8)))
          (local.set $last
            (i32.add (local.get $weight) (i32.shl (i32.load offset=4 (local.get $taps)) (i32.const 2))))
          (local.set $sums (i32x4.splat (global.get $half)))
          (loop $weights
            (if (i32.lt_u (local.get $weight) (local.get $last))
              (then
                (local.set $sums
                  (i32x4.add
                    (local.get $sums)
                    (i32x4.mul
                      (v128.load32_splat (local.get $weight))
                      (i32x4.extend_low_i16x8_u (i16x8.extend_low_i8x16_u (v128.load32_zero (local.get $from)))))))
                (local.set $from (i32.add (local.get $from) (i32.const 3)))
                (local.set $weight (i32.add (local.get $weight) (i32.const 4)))
                (br $weights))))
          (call $store (local.get $to) (local.get $sums))
          (local.set $to (i32.add (local.get $to) (i32.const 3)))
          (local.set $taps (i32.add (local.get $taps) (local.get $step)))
          (br $pixels)))))

  ;; One row of grey. Four old pixels at a time are four lanes.
  (func (export "narrowGreys") (param $row i32) (param $to i32) (param $taps i32) (param $step i32) (param $length i32)
    (local $end i32) (local $from i32) (local $weight i32) (local $last i32) (local $sums v128)
    (local.set $end (i32.add (local.get $to) (local.get $length)))
    (loop $pixels
      (if (i32.lt_u (local.get $to) (local.get $end))
        (then
          (local.set $from (i32.add (local.get $row) (i32.load (local.get $taps))))
          (local.set $weight (i32.add (local.get $taps) (i32.const 8)))
          (local.set $last
            (i32.add (local.get $weight) (i32.shl (i32.load offset=4 (local.get $taps)) (i32.const 2))))
          (local.set $sums (v128.const i32x4 0x200000 0 0 0))
          (loop $weights
            (if (i32.lt_u (local.get $weight) (local.get $last))
              (then
                (local.set $sums
                  (i32x4.add
                    (local.get $sums)
                    (i32x4.mul
                      (v128.load (local.get $weight))
                      (i32x4.extend_low_i16x8_u (i16x8.extend_low_i8x16_u (v128.load32_zero (local.get $from)))))))
                (local.set $from (i32.add (local.get $from) (i32.const 4)))
                (local.set $weight (i32.add (local.get $weight) (i32.const 16)))
                (br $weights))))
          (local.set $sums
            (i32x4.add
              (local.get $sums)
              (i8x16.shuffle 8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7 (local.get $sums) (local.get $sums))))
          (local.set $sums
            (i32x4.add
              (local.get $sums)
              (i8x16.shuffle 4 5 6 7 0 1 2 3 4 5 6 7 0 1 2 3 (local.get $sums) (local.get $sums))))
          (call $store (local.get $to) (local.get $sums))
          (local.set $to (i32.add (local.get $to) (i32.const 1)))
          (local.set $taps (i32.add (local.get $taps) (local.get $step)))
          (br $pixels)))))

  ;; One new row of `bytes` at `to`, from rows of `stride` bytes in a ring of `rows`: row y lies at place y modulo `rows`.
  ;; `slot` is the place of the first one that counts. 16 bytes at a time.
  (func (export "addRows")
    (param $ring i32) (param $rows i32) (param $stride i32) (param $slot i32) (param $taps i32) (param $to i32) (param $bytes i32)
    (local $first i32) (local $end i32) (local $from i32) (local $ringEnd i32) (local $weight i32) (local $last i32)
    (local $factor v128) (local $bytes16 v128) (local $low v128) (local $high v128)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (local.set $first (i32.add (local.get $ring) (i32.mul (local.get $slot) (local.get $stride))))
    (local.set $ringEnd (i32.add (local.get $ring) (i32.mul (local.get $rows) (local.get $stride))))
    (local.set $end (i32.add (local.get $to) (local.get $bytes)))
    (local.set $last
      (i32.add
        (i32.add (local.get $taps) (i32.const 8))
        (i32.shl (i32.load offset=4 (local.get $taps)) (i32.const 2))))
    (loop $columns
      (if (i32.lt_u (local.get $to) (local.get $end))
        (then
          (local.set $from (local.get $first))
          (local.set $weight (i32.add (local.get $taps) (i32.const 8)))
          (local.set $a (i32x4.splat (global.get $half)))
          (local.set $b (local.get $a))
          (local.set $c (local.get $a))
          (local.set $d (local.get $a))
          (loop $weights
            (if (i32.lt_u (local.get $weight) (local.get $last))
              (then
                (local.set $factor (v128.load32_splat (local.get $weight)))
                (local.set $bytes16 (v128.load (local.get $from)))
                (local.set $low (i16x8.extend_low_i8x16_u (local.get $bytes16)))
                (local.set $high (i16x8.extend_high_i8x16_u (local.get $bytes16)))
                (local.set $a (i32x4.add (local.get $a) (i32x4.mul (local.get $factor) (i32x4.extend_low_i16x8_u (local.get $low)))))
                (local.set $b (i32x4.add (local.get $b) (i32x4.mul (local.get $factor) (i32x4.extend_high_i16x8_u (local.get $low)))))
                (local.set $c (i32x4.add (local.get $c) (i32x4.mul (local.get $factor) (i32x4.extend_low_i16x8_u (local.get $high)))))
                (local.set $d (i32x4.add (local.get $d) (i32x4.mul (local.get $factor) (i32x4.extend_high_i16x8_u (local.get $high)))))
                (local.set $from (i32.add (local.get $from) (local.get $stride)))
                (if (i32.ge_u (local.get $from) (local.get $ringEnd))
                  (then
                    (local.set $from
                      (i32.sub (local.get $from) (i32.mul (local.get $rows) (local.get $stride))))))
                (local.set $weight (i32.add (local.get $weight) (i32.const 4)))
                (br $weights))))
          (v128.store
            (local.get $to)
            (i8x16.narrow_i16x8_u
              (i16x8.narrow_i32x4_s
                (i32x4.shr_s (local.get $a) (i32.const 22))
                (i32x4.shr_s (local.get $b) (i32.const 22)))
              (i16x8.narrow_i32x4_s
                (i32x4.shr_s (local.get $c) (i32.const 22))
                (i32x4.shr_s (local.get $d) (i32.const 22)))))
          (local.set $to (i32.add (local.get $to) (i32.const 16)))
          (local.set $first (i32.add (local.get $first) (i32.const 16)))
          (br $columns))))))
