# docker build -t tagnet . && docker run --gpus all tagnet
FROM tensorflow/tensorflow:2.21.0-gpu

WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE DATA_LICENSES.md ./
COPY tagnet tagnet
COPY data_tools data_tools
COPY experiments experiments
RUN python3 -m pip install --no-cache-dir . \
    && useradd --create-home --uid 10001 tagnet

USER 10001
WORKDIR /home/tagnet
CMD ["python3", "-m", "experiments.run", "--arch=ltwin_2rnn", "--out=ltwin_2rnn"]
