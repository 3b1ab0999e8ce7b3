const http = require("http");
const ms = require("ms");

http.createServer((_, response) => response.end(`a day has ${ms("1d")} ms`)).listen(8080);
