from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    return "hello from flask"


app.run("0.0.0.0", 8080)
