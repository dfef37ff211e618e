"""A cabinet with one drawer at the far edge of the table, for scenes that ask for it.

It stands beside the arm's base, opens towards the front camera, and is never touched by what the
arm is trained for: something that changes in the scene and is no cube. Metres, robot's base frame.
"""

CENTRE_M = (0.0, -0.30)  # of the carcass
HALF_M = (0.085, 0.115, 0.055)
OPENING_MAX_M = 0.12
_PLATE_M = 0.005  # half of a plate's thickness
_GAP_M = 0.003  # between front and carcass, so that the joint can be seen

MATERIALS_XML = """
  <material name="carcass" rgba=".37 .42 .47 1" specular=".1"/>
  <material name="drawer_front" rgba=".88 .88 .85 1" specular=".15"/>
  <material name="drawer_inside" rgba=".60 .56 .50 1"/>
  <material name="steel" rgba=".30 .31 .33 1" specular=".5" shininess=".5"/>"""


def drawer_xml() -> str:
    """Carcass and drawer; the joint `drawer` slides by 0 … OPENING_MAX_M towards +x."""
    (x, y), (hx, hy, hz), p = CENTRE_M, HALF_M, _PLATE_M
    carcass = (
        (0, 0, p, hx, hy, p),
        (0, 0, 2 * hz - p, hx, hy, p),
        (0, p - hy, hz, hx, p, hz),
        (0, hy - p, hz, hx, p, hz),
        (p - hx, 0, hz, p, hy, hz),
    )
    depth, width, wall = hx - p - _GAP_M, hy - 2 * p - _GAP_M, hz - 2 * p - _GAP_M
    tray = (
        (0, 0, hz - wall, depth, width, p / 2),
        (p - depth, 0, hz, p / 2, width, wall * 0.7),
        (0, p - width, hz, depth, p / 2, wall * 0.7),
        (0, width - p, hz, depth, p / 2, wall * 0.7),
    )
    face = hx + _GAP_M / 2  # the front covers the carcass's edges
    return f"""
<body name="cabinet" pos="{x} {y} 0">
  {_boxes(carcass, "carcass")}
  <body name="drawer">
    <joint name="drawer" type="slide" axis="1 0 0" range="0 {OPENING_MAX_M}" frictionloss="2"
           damping="5"/>
    {_boxes(tray, "drawer_inside")}
    {_boxes(((face, 0, hz, p, hy - p / 2, hz - p / 2),), "drawer_front")}
    {_handle(face + p, hz * 1.15)}
  </body>
</body>"""


def _boxes(plates: tuple[tuple[float, ...], ...], material: str) -> str:
    return "".join(
        f'<geom type="box" pos="{x:g} {y:g} {z:g}" size="{sx:g} {sy:g} {sz:g}" '
        f'material="{material}" contype="2" conaffinity="3"/>'
        for x, y, z, sx, sy, sz in plates
    )


def _handle(x: float, z: float) -> str:
    """A bar on two posts."""
    half, out, radius = 0.045, 0.022, 0.0055
    bar = f'fromto="{x + out} {-half} {z} {x + out} {half} {z}" size="{radius}"'
    posts = (f'fromto="{x} {y} {z} {x + out} {y} {z}" size="{radius}"' for y in (-half, half))
    return "".join(
        f'<geom class="look" type="capsule" {where} material="steel"/>' for where in (bar, *posts)
    )
