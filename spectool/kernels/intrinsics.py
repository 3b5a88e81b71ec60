"""What numba cannot say by itself: atomics, prefetches, sums that stay in vector registers.

Each is a few instructions of LLVM. Without the JIT they do the same slowly, or nothing.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from spectool._types import Array
from spectool.kernels.compilation import JIT, kernel
from spectool.kernels.formats import LANES

PACKED = 4 * LANES
"""Values that `packed_dot` takes at a time."""

if JIT:
    typed: Any = intrinsic  # numba's decorator is not typed
    _I32, _I64 = ir.IntType(32), ir.IntType(64)

    def _pointer(context: Any, builder: Any, array_type: Any, array: Any, slot: Any) -> Any:
        struct = context.make_array(array_type)(context, builder, array)
        item_pointer: Any = cgutils.get_item_pointer
        return item_pointer(context, builder, array_type, struct, [slot], wraparound=False)

    @typed
    def atomic_add(typing_context: Any, array: Any, slot: Any, value: Any) -> Any:  # noqa: ARG001
        """Add to an int64 slot; returns what it held."""
        signature = types.int64(array, types.uintp, types.int64)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
            return builder.atomic_rmw("add", pointer, args[2], "seq_cst")

        return signature, codegen

    @typed
    def atomic_load(typing_context: Any, array: Any, slot: Any) -> Any:  # noqa: ARG001
        """Return an int64 slot, freshly read."""
        signature = types.int64(array, types.uintp)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
            return builder.load_atomic(pointer, "seq_cst", 8, typ=_I64)

        return signature, codegen

    @typed
    def prefetch(typing_context: Any, array: Any, slot: Any) -> Any:  # noqa: ARG001
        """Start loading the cache line of ``array[slot]``; slots past the end do no harm."""
        signature = types.void(array, types.uintp)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
            byte_pointer = ir.IntType(8).as_pointer()
            declared: Any = cgutils.get_or_insert_function
            function = declared(
                builder.module,
                ir.FunctionType(ir.VoidType(), [byte_pointer, _I32, _I32, _I32]),
                "llvm.prefetch.p0",
            )
            # To read (0), into all caches (3), data (1).
            line = builder.bitcast(pointer, byte_pointer)
            builder.call(function, [line, _I32(0), _I32(3), _I32(1)])
            return context.get_dummy_value()

        return signature, codegen

    @typed
    def chunk_product(
        typing_context: Any,  # noqa: ARG001
        indices: Any,
        data: Any,
        begin: Any,  # noqa: ARG001
        end: Any,  # noqa: ARG001
        v: Any,
        out: Any,
        slot: Any,  # noqa: ARG001
    ) -> Any:
        """Do ``out[slot + l] <- sum data[p + l] v[indices[p + l]]`` over p = begin, begin + 8, ...

        Lanes l = 0 .. 7 live in one vector register. Real values and int32 indices only.
        """
        signature = types.void(indices, data, types.uintp, types.uintp, v, out, types.uintp)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = context.get_value_type(signature.args[1].dtype)
            lanes, bits = ir.VectorType(value, LANES), 64 if value == ir.DoubleType() else 32
            fma: Any = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
                builder.module, ir.FunctionType(lanes, [lanes] * 3), f"llvm.fma.v8f{bits}"
            )

            def at(argument: int, slot: Any) -> Any:
                array_type = signature.args[argument]
                return _pointer(context, builder, array_type, args[argument], slot)

            def load(argument: int, slot: Any, kind: Any, align: int) -> Any:
                loaded = builder.load(builder.bitcast(at(argument, slot), kind.as_pointer()))
                loaded.align = align
                return loaded

            total: Any = cgutils.alloca_once(builder, lanes)  # type: ignore[no-untyped-call]
            builder.store(ir.Constant(lanes, None), total)
            loop: Any = cgutils.for_range_slice
            with loop(builder, args[2], args[3], _I64(LANES), _I64) as (p, _):
                values = load(1, p, lanes, bits // 8)
                columns = load(0, p, ir.VectorType(_I32, LANES), 4)
                gathered = ir.Constant(lanes, ir.Undefined)
                # Eight loads and inserts: faster in cache than the gather instruction.
                for lane in range(LANES):
                    column = builder.zext(builder.extract_element(columns, _I32(lane)), _I64)
                    item = builder.load(at(4, column))
                    gathered = builder.insert_element(gathered, item, _I32(lane))
                builder.store(builder.call(fma, [values, gathered, builder.load(total)]), total)
            stored = builder.store(
                builder.load(total), builder.bitcast(at(5, args[6]), lanes.as_pointer())
            )
            stored.align = bits // 8
            return context.get_dummy_value()

        return signature, codegen

    def _tile(width: int) -> Any:
        """Return the intrinsic that multiplies a row into ``width`` columns of a block."""

        @typed
        def tile_product(
            typing_context: Any,  # noqa: ARG001
            indices: Any,
            data: Any,
            begin: Any,  # noqa: ARG001
            end: Any,  # noqa: ARG001
            v: Any,
            columns: Any,  # noqa: ARG001
            column: Any,  # noqa: ARG001
            out: Any,
            slot: Any,  # noqa: ARG001
        ) -> Any:
            """Do ``out[slot + l] <- sum data[p] v[indices[p] columns + column + l]``.

            Lanes l live in vector registers, even and odd entries in different ones: with one an
            addition would wait for the last. Left to itself the compiler adds lane by lane, three
            times slower (measured). Real values only.
            """
            size = types.uintp
            signature = types.void(indices, data, size, size, v, size, size, out, size)

            def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                value = context.get_value_type(signature.args[1].dtype)
                index = signature.args[0].dtype
                lanes, bits = ir.VectorType(value, width), 64 if value == ir.DoubleType() else 32
                fma: Any = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
                    builder.module, ir.FunctionType(lanes, [lanes] * 3), f"llvm.fma.v{width}f{bits}"
                )
                begin, end, columns, column, slot = args[2], args[3], args[5], args[6], args[8]

                def at(argument: int, slot: Any) -> Any:
                    array_type = signature.args[argument]
                    return _pointer(context, builder, array_type, args[argument], slot)

                def add(p: Any, total: Any) -> None:
                    where = builder.load(at(0, p))
                    if index.bitwidth == 32:
                        where = builder.zext(where, _I64)
                    start = builder.add(builder.mul(where, columns), column)
                    block = builder.load(builder.bitcast(at(4, start), lanes.as_pointer()))
                    block.align = bits // 8
                    first = builder.insert_element(
                        ir.Constant(lanes, ir.Undefined), builder.load(at(1, p)), _I32(0)
                    )
                    zeros = ir.Constant(ir.VectorType(_I32, width), [0] * width)
                    value = builder.shuffle_vector(first, ir.Constant(lanes, ir.Undefined), zeros)
                    builder.store(builder.call(fma, [value, block, builder.load(total)]), total)

                alloca: Any = cgutils.alloca_once
                totals = [alloca(builder, lanes) for _ in range(2)]
                for total in totals:
                    builder.store(ir.Constant(lanes, None), total)
                odd = builder.and_(builder.sub(end, begin), _I64(1))
                loop: Any = cgutils.for_range_slice
                with loop(builder, begin, builder.sub(end, odd), _I64(2), _I64) as (p, _):
                    add(p, totals[0])
                    add(builder.add(p, _I64(1)), totals[1])
                with builder.if_then(builder.icmp_unsigned("==", odd, _I64(1))):
                    add(builder.sub(end, _I64(1)), totals[0])
                result = builder.fadd(*(builder.load(total) for total in totals))
                target = builder.bitcast(at(7, slot), lanes.as_pointer())
                builder.store(result, target).align = bits // 8
                return context.get_dummy_value()

            return signature, codegen

        return tile_product

    sixteen_columns, eight_columns = _tile(16), _tile(8)
    four_columns, two_columns = _tile(4), _tile(2)

    @typed
    def packed_dot(
        typing_context: Any,  # noqa: ARG001
        x: Any,
        y: Any,
        begin: Any,  # noqa: ARG001
        end: Any,  # noqa: ARG001
    ) -> Any:
        """Return ``sum x[i] y[i]`` over begin <= i < end, a multiple of PACKED values.

        Four vector registers of 8 sums, added at the end in pairs: left to itself the compiler adds
        one by one (3 times slower in cache), or in an order that differs between copies of a
        kernel. Real values only.
        """
        signature = x.dtype(x, y, types.uintp, types.uintp)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = context.get_value_type(signature.return_type)
            lanes, bits = ir.VectorType(value, LANES), 64 if value == ir.DoubleType() else 32
            fma: Any = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
                builder.module, ir.FunctionType(lanes, [lanes] * 3), f"llvm.fma.v8f{bits}"
            )

            def load(argument: int, slot: Any) -> Any:
                array_type = signature.args[argument]
                pointer = _pointer(context, builder, array_type, args[argument], slot)
                loaded = builder.load(builder.bitcast(pointer, lanes.as_pointer()))
                loaded.align = bits // 8
                return loaded

            alloca: Any = cgutils.alloca_once
            totals = [alloca(builder, lanes) for _ in range(PACKED // LANES)]
            for total in totals:
                builder.store(ir.Constant(lanes, None), total)
            loop: Any = cgutils.for_range_slice
            with loop(builder, args[2], args[3], _I64(PACKED), _I64) as (i, _):
                for k, total in enumerate(totals):
                    slot = builder.add(i, _I64(LANES * k))
                    product = builder.call(fma, [load(0, slot), load(1, slot), builder.load(total)])
                    builder.store(product, total)
            sums = [builder.load(total) for total in totals]
            while len(sums) > 1:
                sums = [builder.fadd(*pair) for pair in zip(sums[::2], sums[1::2], strict=True)]
            parts = [builder.extract_element(sums[0], _I32(lane)) for lane in range(LANES)]
            while len(parts) > 1:
                parts = [builder.fadd(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
            return parts[0]

        return signature, codegen

    if os.name == "posix":
        yield_core: Any = types.ExternalFunction("sched_yield", types.int32())
    else:

        @kernel
        def yield_core() -> int:
            """There is nothing to call: spin."""
            return 0

else:

    def atomic_add(array: Array, slot: int, value: int) -> None:
        """Without the JIT nobody else counts."""
        array[slot] += value

    def atomic_load(array: Array, slot: int) -> int:
        """Return the slot."""
        return int(array[slot])

    def yield_core() -> int:
        """Nobody waits."""
        return 0

    def prefetch(array: Array, slot: int) -> None:
        """Without the JIT nothing is worth fetching early."""

    def packed_dot(x: Array, y: Array, begin: int, end: int) -> Any:
        """Return the same in NumPy's order."""
        return x[begin:end] @ y[begin:end]

    def _tile(width: int) -> Any:
        def tile_product(
            indices: Array,
            data: Array,
            begin: int,
            end: int,
            v: Array,
            columns: int,
            column: int,
            out: Array,
            slot: int,
        ) -> None:
            total = np.zeros(width, dtype=v.dtype)
            for p in range(begin, end):
                start = int(indices[p]) * columns + column
                total += data[p] * v[start : start + width]
            out[slot : slot + width] = total

        return tile_product

    sixteen_columns, eight_columns = _tile(16), _tile(8)
    four_columns, two_columns = _tile(4), _tile(2)

    def chunk_product(
        indices: Array, data: Array, begin: int, end: int, v: Array, out: Array, slot: int
    ) -> None:
        """Do the same one entry at a time."""
        out[slot : slot + LANES] = 0
        for p in range(begin, end, LANES):
            columns = indices[p : p + LANES]
            out[slot : slot + LANES] += data[p : p + LANES] * v[columns]
