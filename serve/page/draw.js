// Pictures like those that the built-in model was trained on: figures on a grid of 4 x 4 cells.

const CELL = 32, GRID = 4;
const COLOURS = {
  red: "#d63031", blue: "#2654c9", green: "#2e8b3e", yellow: "#f0cd28", purple: "#803caa",
};
const SIZES = { small: 6, large: 13 };

function ring(count, radii) {
  return Array.from({ length: count }, (_, at) => {
    const turn = (2 * Math.PI * at) / count - Math.PI / 2, radius = radii[at % radii.length];
    return [radius * Math.cos(turn), radius * Math.sin(turn)];
  });
}

const CORNER = [[0.33, 0.33], [0.33, 1], [-0.33, 1], [-0.33, 0.33], [-1, 0.33], [-1, -0.33]];
const SHAPES = {
  circle: ring(40, [1]),
  square: [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
  triangle: ring(3, [1]),
  star: ring(10, [1, 0.42]),
  cross: [...CORNER, ...CORNER.map(([x, y]) => [-x, -y])],
};

function pick(names) {
  return names[Math.floor(Math.random() * names.length)];
}

function randomFigures(count) {
  const cells = new Set();
  while (cells.size < count) cells.add(Math.floor(Math.random() * GRID * GRID));
  return [...cells].map((cell) => ({
    size: pick(Object.keys(SIZES)), colour: pick(Object.keys(COLOURS)),
    shape: pick(Object.keys(SHAPES)), row: Math.floor(cell / GRID), column: cell % GRID,
  }));
}

function drawing(figures) {
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  canvas.width = canvas.height = CELL * GRID;
  context.fillStyle = "#f0efec";
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (const { size, colour, shape, row, column } of figures) {
    context.fillStyle = COLOURS[colour];
    context.beginPath();
    for (const [x, y] of SHAPES[shape]) {
      context.lineTo((column + 0.5) * CELL + SIZES[size] * x, (row + 0.5) * CELL + SIZES[size] * y);
    }
    context.fill();
  }
  const name = figures.map(({ size, colour, shape }) => `${size} ${colour} ${shape}`).join(", ");
  return { name, url: canvas.toDataURL("image/png") };
}

// Two that answer the question in the query field's hint, one that nearly does, the rest by chance.
export function drawings() {
  const star = { size: "large", colour: "red", shape: "star", row: 0, column: 1 };
  const circle = { size: "small", colour: "blue", shape: "circle", row: 2, column: 1 };
  const known = [
    [star, circle],
    [{ ...star, row: 1, column: 2 }, { ...circle, row: 3, column: 2, size: "large" }],
    [{ ...star, row: 3 }, { ...circle, row: 1 }],
  ];
  const others = Array.from({ length: 5 }, () => randomFigures(2 + Math.floor(Math.random() * 3)));
  return [...others.slice(0, 3), ...known, ...others.slice(3)].map(drawing);
}
