"""Makes polynomials.hpp: the polynomials behind exp, tanh, log and the normal distribution in simd.hpp.

    python core/polynomials.py > core/polynomials.hpp        needs mpmath

Each is the interpolant of its function at Chebyshev nodes, computed with 60 digits, so within a factor of two of the
best polynomial of its degree; `accuracy` in a comment is its largest error, relative to the function it stands in for.
The polynomials are ours so that every processor and compiler computes the same bits (libm differs between machines).
"""

from mpmath import atanh, binomial, chebyt, cos, erfc, exp, expm1, linspace, log, mp, mpf, pi, sqrt

mp.dps = 60


def interpolant(f, low, high, degree):
    """Coefficients, constant first, in powers of x, of the polynomial through f at the Chebyshev nodes of [low, high]."""
    n = degree + 1
    middle, half = (high + low) / 2, (high - low) / 2
    nodes = [cos(pi * (k + mpf(1) / 2) / n) for k in range(n)]
    values = [f(middle + half * t) for t in nodes]
    series = [
        (1 if j == 0 else 2) * sum(v * chebyt(j, t) for v, t in zip(values, nodes, strict=True)) / n for j in range(n)
    ]
    powers = [[mpf(1)], [mpf(0), mpf(1)]]  # T_0, T_1 and so on in powers of t
    while len(powers) < n:
        a, b = powers[-1], powers[-2]
        powers.append([(2 * a[i - 1] if i else 0) - (b[i] if i < len(b) else 0) for i in range(len(a) + 1)])
    in_t = [sum(series[j] * powers[j][i] for j in range(n) if i < len(powers[j])) for i in range(n)]
    # t = (x - middle) / half
    coefficients = [mpf(0)] * n
    for i, c in enumerate(in_t):
        for k in range(i + 1):
            coefficients[k] += c * binomial(i, k) * (-middle) ** (i - k) / half**i
    return coefficients


def horner(coefficients, x):
    y = mpf(0)
    for c in reversed(coefficients):
        y = y * x + c
    return y


def exp_tail(r):
    """(e^r - 1 - r) / r^2, so that e^r - 1 = r + r^2 tail keeps its relative accuracy near 0."""
    return (expm1(r) - r) / r**2 if abs(r) > 1e-15 else mpf(1) / 2 + r / 6


def atanh_tail(t):
    """(atanh(s)/s - 1) / s^2 with t = s^2, so that log((1 + s)/(1 - s)) = 2s + 2s t tail."""
    s = sqrt(t)
    return (atanh(s) / s - 1) / t if t > 1e-15 else mpf(1) / 3 + t / 5


def scaled_erfc(w):
    """(1 + 2z) e^(z^2) erfc(z) with w = (z - 4)/(z + 4): nearly flat on z in [0, infinity) (Shepherd, Laframboise 1981)."""
    z = 4 * (1 + w) / (1 - w)
    return (1 + 2 * z) * exp(z**2) * erfc(z)


TABLES = [  # name, function, low, high, degree for float and double, error relative to the result
    ("EXP", exp_tail, -log(2) / 2, log(2) / 2, (4, 9), lambda x, e: abs(e * x**2 / (expm1(x) if x else 1))),
    ("ATANH", atanh_tail, mpf(0), mpf(1) / 9, (3, 10), lambda x, e: abs(e * x)),
    ("ERFC", scaled_erfc, mpf(-1), (27 - 4) / mpf(27 + 4), (11, 22), lambda x, e: abs(e / scaled_erfc(x))),
]


def main():
    print("// Made by polynomials.py; not edited by hand. Constant term first.")
    print("#pragma once\n// clang-format off\nnamespace {")
    for name, f, low, high, degrees, relative in TABLES:
        print(f"// {name}: {' '.join(f.__doc__.split())}")
        for kind, degree, digits in zip(("float", "double"), degrees, (9, 17), strict=True):
            c = interpolant(f, low, high, degree)
            worst = max(relative(x, horner(c, x) - f(x)) for x in linspace(low, high, 400))
            print(f"constexpr {kind} {name}_{kind.upper()}[] = {{  // accuracy {float(worst):.1e}")
            suffix = "f" if kind == "float" else ""
            for a in c:
                print(f"    {mp.nstr(a, digits, strip_zeros=False)}{suffix},")
            print("};")
    print("}  // namespace\n// clang-format on")


if __name__ == "__main__":
    main()
