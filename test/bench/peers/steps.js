// What the three steps of hello do.
export const cities = ['Tokyo', 'Seattle', 'London'];
export const sayHello = (name) => `Hello ${name}!`;
export const url = `postgresql://${process.env.PGUSER}@localhost:${process.env.PGPORT}/${process.env.PGDATABASE}?host=${encodeURIComponent(process.env.PGHOST)}`;
